"""Threads for questions that can take a while: no light one waits behind them, nor anyone for one who asks a lot."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from weakref import WeakValueDictionary

AT_ONCE = 4
OF_ONE_AT_ONCE = 2  # threads that one person's questions take; their others wait

T = TypeVar("T")


class Threads:
    """Used from any event loop."""

    def __init__(self, name: str) -> None:
        self.executor = ThreadPoolExecutor(AT_ONCE, thread_name_prefix=name)
        self._turns: WeakValueDictionary[tuple[int, str], asyncio.Semaphore] = WeakValueDictionary()

    async def run(self, person: str, function: Callable[[], T]) -> T:
        """What the function says, once it is the person's turn."""
        loop = asyncio.get_running_loop()
        turn = self._turns.setdefault((id(loop), person), asyncio.Semaphore(OF_ONE_AT_ONCE))
        async with turn:
            return await loop.run_in_executor(self.executor, function)
