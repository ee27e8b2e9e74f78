"""The one poller: each message is made once and reaches every open page, and nobody else's."""

from __future__ import annotations

import asyncio
import gc
import json
import time
import weakref
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.agent.registration import signed
from backend.services import Services
from backend.sessions.life.submission import secret_purpose
from pages.parts.live import Live
from pages.parts.topics import Topic, difference, to_json
from pages.shell import TOPICS
from tests.unit.pages_kit import ADA, BOB, Sitter, World, job, session_row
from tests.unit.sessions_kit import cpu_node, gpu_node, partition

pytestmark = pytest.mark.asyncio


@pytest.fixture
def world(tmp_path: Path) -> World:
    nodes = [gpu_node("a1"), cpu_node("c1")]
    return World(tmp_path, nodes=nodes, partitions=[partition("gpu", ["a1"])], jobs=[job(1), job(2, "bob")])


@pytest.fixture
async def live(world: World) -> Any:
    """A poller that looks only when the test says so."""
    poller = Live(world.services, TOPICS, every_s=3600)
    yield poller
    await poller.stop()


async def test_one_who_opens_a_page_gets_the_whole_topic(live: Live) -> None:
    seat = Sitter()
    await live.watch(seat, ["home"], {})
    assert seat.topics["home"]["totals"]["nodes"] == 2


async def test_a_message_is_made_once_for_all_and_is_the_same_text(world: World, live: Live) -> None:
    seats = [Sitter() for _ in range(20)]
    for seat in seats:
        await live.watch(seat, ["home"], {})
    world.publish(nodes=[gpu_node("a1", used=2), cpu_node("c1")])
    await live.poll()
    last = seats[0].texts[-1]
    assert all(seat.texts[-1] is last for seat in seats)
    assert seats[7].topics["home"]["gpus"][0]["allocated"] == 2


async def test_only_the_changed_node_is_sent(world: World, live: Live) -> None:
    seat = Sitter()
    await live.watch(seat, ["cluster"], {})
    world.publish(nodes=[gpu_node("a1"), cpu_node("c1", cpus_allocated=3)])
    await live.poll()
    (change,) = json.loads(seat.texts[-1])
    assert list(change["keyed"]["nodes"]["set"]) == ["c1"]
    assert change["keyed"]["nodes"]["del"] == []


async def test_a_node_that_is_gone_leaves_the_page(world: World, live: Live) -> None:
    seat = Sitter()
    await live.watch(seat, ["cluster"], {})
    world.publish(nodes=[cpu_node("c1")])
    await live.poll()
    assert list(seat.topics["cluster"]["nodes"]) == ["c1"]


async def test_nothing_is_sent_when_nothing_changed(live: Live) -> None:
    seat = Sitter()
    await live.watch(seat, ["home", "cluster"], {})
    sent = len(seat.texts)
    await live.poll()
    await live.poll()
    assert len(seat.texts) == sent


async def test_a_look_with_the_same_rows_tells_only_how_fresh_they_are(world: World, live: Live) -> None:
    seat = Sitter()
    await live.watch(seat, ["fresh", "home"], {})
    before = seat.topics["fresh"]["taken_s"]
    world.publish(jobs=[job(1), job(2, "bob")], taken_s=before + 10)
    await live.poll()
    assert [message["t"] for message in json.loads(seat.texts[-1])] == ["fresh"]
    assert seat.topics["fresh"]["taken_s"] == before + 10


async def test_a_scheduler_that_does_not_answer_is_told_with_its_reason(world: World, live: Live) -> None:
    seat = Sitter()
    await live.watch(seat, ["fresh"], {})
    world.fail("jobs", "slurmctld does not answer")
    await live.poll()
    assert seat.topics["fresh"]["error"] == "slurmctld does not answer"
    assert seat.topics["fresh"]["failing_since_s"]
    world.publish(jobs=[job(1)])
    await live.poll()
    assert seat.topics["fresh"]["error"] is None


async def test_what_is_a_persons_own_goes_to_that_person_alone(world: World, live: Live) -> None:
    ada, bob = Sitter(ADA), Sitter(BOB)
    await live.watch(ada, ["mine"], {})
    await live.watch(bob, ["mine"], {})
    world.publish(jobs=[job(1), job(3), job(4, state="PENDING"), job(2, "bob")])
    await live.poll()
    assert ada.topics["mine"]["jobs"] == {"running": 2, "pending": 1}
    assert bob.topics["mine"]["jobs"] == {"running": 1, "pending": 0}


async def test_who_comes_while_the_poller_looks_is_told_what_follows(world: World, live: Live) -> None:
    seat = Sitter(ADA)
    await asyncio.gather(live.poll(), live.watch(seat, ["mine"], {}))
    world.publish(jobs=[job(1), job(3)])
    await live.poll()
    assert seat.topics["mine"]["jobs"] == {"running": 2, "pending": 0}


async def test_who_comes_back_to_what_was_long_left_is_told_what_follows(world: World, live: Live) -> None:
    before, seat = Sitter(ADA), Sitter(ADA)
    await live.watch(before, ["mine"], {})
    live.leave(before)
    live.rooms["mine:ada"].left_s -= 3600
    await asyncio.gather(live.poll(), live.watch(seat, ["mine"], {}))
    world.publish(jobs=[job(1), job(3)])
    await live.poll()
    assert seat.topics["mine"]["jobs"] == {"running": 2, "pending": 0}


async def test_a_page_that_was_left_is_told_nothing_and_kept_by_nobody(world: World, live: Live) -> None:
    seat = Sitter()
    await live.watch(seat, ["home", "mine"], {})
    live.leave(seat)
    sent = len(seat.texts)
    world.publish(nodes=[])
    await live.poll()
    assert len(seat.texts) == sent
    assert live.everyone() == 0
    gone = weakref.ref(seat)
    del seat
    gc.collect()
    assert gone() is None


async def test_another_page_means_other_topics(world: World, live: Live) -> None:
    seat = Sitter()
    await live.watch(seat, ["home"], {})
    await live.watch(seat, ["cluster"], {})
    world.publish(nodes=[])
    await live.poll()
    assert {message["t"] for message in json.loads(seat.texts[-1])} == {"cluster"}


async def test_one_who_comes_back_with_the_newest_version_is_sent_nothing(live: Live) -> None:
    stays, returns = Sitter(), Sitter()
    await live.watch(stays, ["home"], {})
    await live.watch(returns, ["home"], {"home": stays.versions["home"]})
    assert returns.texts == []


async def test_a_version_of_an_earlier_process_is_never_taken_for_ours(world: World, live: Live) -> None:
    first, second = Sitter(), Sitter()
    await live.watch(first, ["home"], {})
    other = Live(world.services, TOPICS, every_s=3600)
    await other.watch(second, ["home"], {"home": first.versions["home"]})
    assert second.topics["home"]
    await other.stop()


async def test_a_topic_that_fails_does_not_silence_the_others(world: World) -> None:
    broken = True

    def breaks(services: Services, viewer: Any) -> dict[str, Any]:
        if broken:
            raise RuntimeError("no such luck")
        return {"fine": True}

    live = Live(world.services, [*TOPICS, Topic("breaks", breaks, ("jobs",))], every_s=3600)
    seat = Sitter()
    await live.watch(seat, ["breaks", "home"], {})
    assert "home" in seat.topics
    broken = False
    await live.poll()
    assert seat.topics["breaks"] == {"fine": True}
    await live.stop()


rows = st.dictionaries(st.text(max_size=4), st.lists(st.integers(0, 3), max_size=2), max_size=6)
messages = st.fixed_dictionaries({"nodes": rows, "sum": st.integers(0, 2), "list": st.lists(st.integers(), max_size=2)})


@given(old=messages, new=messages)
async def test_what_a_page_has_and_the_difference_make_what_is_new(old: dict[str, Any], new: dict[str, Any]) -> None:
    seat = Sitter()
    seat.send(to_json([{"t": "x", "v": "1", "full": old}]))
    change = difference(old, new, frozenset({"nodes"}))
    if change is not None:
        seat.send(to_json([{"t": "x", "v": "2", "from": "1", **change}]))
    assert seat.topics["x"] == new


async def test_accounts_that_cant_be_read_hold_up_no_page_and_say_why(world: World, live: Live) -> None:
    folder = world.services.settings.instance.data_dir / "accounting"
    folder.mkdir()
    (folder / "manifest.json").write_text("{")
    seat = Sitter()
    await live.watch(seat, ["home", "usage"], {})
    await live.poll()
    assert seat.topics["home"]["totals"]["nodes"] == 2
    (cluster,) = seat.topics["usage"]["clusters"]
    assert "manifest.json" in cluster["error"] and cluster["synced_s"] is None
    (folder / "manifest.json").unlink()
    live.look.hurry()
    await live.poll()
    assert seat.topics["usage"]["clusters"] == []


async def test_what_an_agent_tells_is_seen_at_the_next_look(world: World, live: Live) -> None:
    """Others' changes are looked for once a second; what this process has written needs no such waiting."""
    session, secret = "s0000000001", "k" * 43
    sealed = world.services.box.encrypt(secret.encode(), purpose=secret_purpose(session))
    session_row(world, session, state="starting", apps={"jupyterlab": "starting"}, secret=sealed)
    seat = Sitter()
    await live.watch(seat, ["mine"], {})
    await live.poll()
    for state in ("failed", "ready", "failed"):
        told = {"session": session, "port": 40123, "time_s": int(time.time()), "apps": {"jupyterlab": state}}
        assert world.services.sessions.registered(signed(secret, told)).status == 204
        await live.poll()
        assert seat.topics["mine"]["sessions"][session]["apps"][0]["state"] == state


async def test_a_topic_that_keeps_failing_is_logged_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    def broken(_services: Services, _viewer: object) -> dict[str, Any]:
        raise OSError("the disk is gone")

    poller = Live(world.services, [Topic("broken", broken, ("jobs",))], every_s=3600)
    await poller.watch(Sitter(), ["broken"], {})
    caplog.clear()
    for _ in range(3):
        await poller.poll()
    await poller.stop()
    assert [record.message for record in caplog.records] == ["topic broken could not be prepared"]
