"""Start estimates: sparing with the scheduler, and the newest question of a person counts."""

from __future__ import annotations

import asyncio

import pytest

from backend.sessions import Estimate, Superseded
from backend.sessions.estimates import Estimates


class SlowScheduler:
    """Answers after a moment; counts how many ask at once."""

    def __init__(self) -> None:
        self.asked = 0
        self.now = 0
        self.most = 0

    async def __call__(self) -> Estimate:
        self.asked += 1
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.05)
        self.now -= 1
        return Estimate(self.asked, "")


async def test_the_same_question_is_asked_once_while_the_answer_is_fresh() -> None:
    scheduler, estimates = SlowScheduler(), Estimates(4, 30)
    answers = [await estimates.get("ada", {"gpus": 1}, scheduler) for _ in range(3)]
    assert scheduler.asked == 1
    assert len(set(answers)) == 1


async def test_an_old_answer_is_not_used() -> None:
    scheduler, estimates = SlowScheduler(), Estimates(4, 0)
    for _ in range(2):
        await estimates.get("ada", {"gpus": 1}, scheduler)
    assert scheduler.asked == 2


async def test_anothers_answer_is_not_used() -> None:
    scheduler, estimates = SlowScheduler(), Estimates(4, 30)
    for person in ("ada", "bob"):
        await estimates.get(person, {"gpus": 1}, scheduler)
    assert scheduler.asked == 2


async def test_of_a_persons_questions_only_the_newest_is_passed_on() -> None:
    scheduler, estimates = SlowScheduler(), Estimates(4, 30)
    asking = [asyncio.ensure_future(estimates.get("ada", {"gpus": n}, scheduler)) for n in range(6)]
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert [isinstance(answer, Superseded) for answer in answers] == [False, True, True, True, True, False]
    assert scheduler.most == 1


async def test_one_person_has_one_question_in_flight() -> None:
    scheduler, estimates = SlowScheduler(), Estimates(4, 30)
    first = asyncio.ensure_future(estimates.get("ada", {"gpus": 1}, scheduler))
    await asyncio.sleep(0.01)
    rest = [asyncio.ensure_future(estimates.get("ada", {"gpus": n}, scheduler)) for n in range(2, 6)]
    await asyncio.gather(first, *rest, return_exceptions=True)
    assert (scheduler.asked, scheduler.most) == (2, 1)


async def test_the_site_has_a_cap() -> None:
    scheduler, estimates = SlowScheduler(), Estimates(2, 30)
    await asyncio.gather(*(estimates.get(f"p{n}", {}, scheduler) for n in range(8)))
    assert (scheduler.asked, scheduler.most) == (8, 2)


async def test_a_browser_that_goes_away_leaves_nothing_behind() -> None:
    scheduler, estimates = SlowScheduler(), Estimates(1, 30)
    asking = asyncio.ensure_future(estimates.get("ada", {}, scheduler))
    await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert (await asyncio.wait_for(estimates.get("ada", {}, scheduler), 1)).start_s is not None
    assert estimates._turns == {}
