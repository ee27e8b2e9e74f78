"""Work that many ask for at once is done once, and what came out is kept for those who come later."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

V = TypeVar("V")


class Flights(Generic[V]):
    """Results by key, the least used dropped first. Of one event loop; nothing here blocks it.

    A key must hold everything the result depends on, so that a result never goes stale. One that fails is not
    kept: all who waited get the error, who comes later tries again.
    """

    def __init__(self, most: int, most_bytes: int, size_of: Callable[[V], int]) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._size_of = size_of
        self._kept: OrderedDict[Hashable, V] = OrderedDict()
        self._sizes: dict[Hashable, int] = {}
        self._bytes = 0
        self._under_way: dict[Hashable, asyncio.Task[V]] = {}
        self.made = 0  # results, in all

    async def get(self, key: Hashable, make: Callable[[], Awaitable[V]]) -> V:
        """The result of `make`, run unless it is under way or known. Raises what it raises."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.ensure_future(self._make(key, make))
            self._under_way[key] = task
        return await asyncio.shield(task)  # one who goes away doesn't end it for the others

    async def _make(self, key: Hashable, make: Callable[[], Awaitable[V]]) -> V:
        try:
            found = await make()
            self.made += 1
            self._keep(key, found)
            return found
        finally:
            del self._under_way[key]

    def _keep(self, key: Hashable, value: V) -> None:
        size = self._size_of(value)
        if size > self._most_bytes:
            return
        self._kept[key], self._sizes[key] = value, size
        self._bytes += size
        while len(self._kept) > self._most or self._bytes > self._most_bytes:
            oldest, _ = self._kept.popitem(last=False)
            self._bytes -= self._sizes.pop(oldest)
