"""Questions that can take a while: a long one holds up no sign-in and no page, many of one person nobody else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from pages.parts.threads import Threads

MOST_OF_ONE = 8  # of one person, that are being answered or wait

T = TypeVar("T")


class TooManyAsked(Exception):
    """The person asks a great deal at once."""

    def __init__(self) -> None:
        super().__init__("Several of your questions are being answered already. Wait for them.")


class Asking:
    """Of one web process, about one matter; counts are kept on its event loop."""

    def __init__(self, name: str) -> None:
        self._threads = Threads(name)
        self._of: Counter[str] = Counter()

    @property
    def executor(self) -> ThreadPoolExecutor:
        """The threads, for what is asked by nobody in particular."""
        return self._threads.executor

    @contextmanager
    def turn(self, person: str) -> Iterator[None]:
        """Count one more of the person's. Raises TooManyAsked."""
        if self._of[person] >= MOST_OF_ONE:
            raise TooManyAsked
        self._of[person] += 1
        try:
            yield
        finally:
            self._of[person] -= 1
            if not self._of[person]:
                del self._of[person]

    async def run(self, person: str, function: Callable[[], T]) -> T:
        """Answer one that was counted, in a thread."""
        return await self._threads.run(person, function)
