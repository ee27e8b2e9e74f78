"""Threads for questions to the accounts: a long one holds up no sign-in and no page, many of one person nobody else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

AT_ONCE = 4
MOST_OF_ONE = 8  # of one person, that are being answered or wait


class TooManyAsked(Exception):
    """The person asks a great deal at once."""

    def __init__(self) -> None:
        super().__init__("Several of your questions are being answered already. Wait for them.")


class Asking:
    """Of one web process; counts are kept on its event loop."""

    def __init__(self) -> None:
        self.executor = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="asking")
        self._of: Counter[str] = Counter()

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
