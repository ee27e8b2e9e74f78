"""Threads for long questions: whose they are shared between."""

from __future__ import annotations

import asyncio
import threading

from pages.parts.threads import AT_ONCE, Threads


async def test_one_persons_long_questions_leave_threads_for_others() -> None:
    threads, go_on = Threads("test"), threading.Event()
    long = [asyncio.ensure_future(threads.run("ada", lambda: go_on.wait(60))) for _ in range(2 * AT_ONCE)]
    try:
        async with asyncio.timeout(10):
            assert await threads.run("bob", lambda: "at once") == "at once"
        assert not any(each.done() for each in long)
    finally:
        go_on.set()
    assert all(await asyncio.gather(*long))
    threads.executor.shutdown()


async def test_a_question_that_fails_ends_its_turn() -> None:
    threads = Threads("test")
    for _ in range(2 * AT_ONCE):
        result = await asyncio.gather(threads.run("ada", lambda: 1 // 0), return_exceptions=True)
        assert isinstance(result[0], ZeroDivisionError)
    threads.executor.shutdown()
