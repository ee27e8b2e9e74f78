"""Fetching ahead: one thread waits for the database while another works on what has come."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")


def ahead_of(produce: Callable[[], Iterator[T]], most: int) -> Iterator[T]:
    """What `produce()` yields, made in another thread, at most `most` items ahead. Its exception is raised here."""
    items: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(most)
    enough = threading.Event()

    def put(item: tuple[T | None, BaseException | None]) -> bool:
        while not enough.is_set():
            try:
                items.put(item, timeout=0.2)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in produce():
                if not put((item, None)):
                    return
        except BaseException as error:  # noqa: BLE001 - raised where it is awaited
            put((None, error))
        else:
            put((None, StopIteration()))

    thread = threading.Thread(target=work, name="fetching ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = items.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            assert item is not None  # noqa: S101 - an item or an error
            yield item
    finally:
        enough.set()
        thread.join()
