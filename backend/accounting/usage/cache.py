"""Answers kept while the accounts stay the same, each computed once however many ask for it at a time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

ENTRY_BYTES = 4096  # of an entry besides its data, roughly


class Cache(Generic[Key, Value]):
    """Of one generation at a time: the next one empties it. Thread-safe; `make` runs outside of the lock."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._generation = -1
        self._kept: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self._bytes = 0
        self._making: dict[tuple[int, Key], Future[Value]] = {}

    def get(self, generation: int, key: Key, make: Callable[[], Value], size: Callable[[Value], int]) -> Value:
        """What `make` returned or raised for this key and generation; `size` in bytes."""
        with self._lock:
            if generation > self._generation:
                self._generation, self._bytes = generation, 0
                self._kept.clear()
            if generation == self._generation and key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key][0]
            going_on = self._making.get((generation, key))
            if going_on is None:
                mine: Future[Value] = Future()
                self._making[generation, key] = mine
        if going_on is not None:
            return going_on.result()
        try:
            value = make()
        except BaseException as error:
            with self._lock:
                del self._making[generation, key]
            mine.set_exception(error)
            raise
        with self._lock:
            del self._making[generation, key]
            self._keep(generation, key, value, size(value) + ENTRY_BYTES)
        mine.set_result(value)
        return value

    def _keep(self, generation: int, key: Key, value: Value, size: int) -> None:
        if generation != self._generation or size > self._most_bytes // 4:
            return
        self._kept[key] = (value, size)
        self._bytes += size
        while self._bytes > self._most_bytes:
            _, (_, dropped) = self._kept.popitem(last=False)
            self._bytes -= dropped
