"""Tags, notes and saved filters: who may write and read them, what is refused, and that they stay with their job."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from backend import jobs
from backend.accounting.history import (
    FilterNotFound,
    FilterRefused,
    HistoryQuestion,
    JobKey,
    MarkRefused,
    NotAsked,
    Range,
    read_words,
)
from backend.accounting.rights import scope_of
from backend.identity import Viewer
from backend.store.models import Audit
from tests.unit.history_kit import HOSTILE, UIDS, fill
from tests.unit.pages_kit import ADA, BOB, COORDINATOR, OPERATOR, World
from tests.unit.pages_kit import job as queued
from tests.unit.usage_kit import at, job


def row(number: int, day: str, user: str = "ada", **more: Any) -> dict[str, Any]:
    start_s = at(day)
    return job(number, start_s, start_s + 3600, user=user, uid=UIDS[user], cluster="local", **more)


KEY = JobKey("local", 1, at("2026-10-01"))
BOBS = JobKey("local", 2, at("2026-10-02"))


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path, jobs=[queued(77), queued(78, "bob")])
    rows = [row(1, "2026-10-01", submit_s=at("2026-10-01")), row(2, "2026-10-02", "bob", account="biology")]
    fill(tmp_path / "accounting", rows, cluster="local")
    return world


def tag(world: World, viewer: Viewer, key: JobKey, *tags: str, remove: tuple[str, ...] = ()) -> jobs.Marking:
    return jobs.tag_jobs(world.services, viewer, [key], add=tags, remove=remove, address="10.0.0.9")[0]


@pytest.mark.parametrize(("viewer", "may"), [(ADA, True), (OPERATOR, True), (COORDINATOR, False), (BOB, False)])
def test_owner_and_operators_write_on_a_job(world: World, viewer: Viewer, may: bool) -> None:
    assert bool(tag(world, viewer, KEY, "Keep").problem) is not may
    if may:
        assert jobs.write_note(world.services, viewer, KEY, HOSTILE).note == HOSTILE.strip()
    else:
        with pytest.raises((MarkRefused, jobs.JobNotFound)):
            jobs.write_note(world.services, viewer, KEY, "mine now")
    assert bool(jobs.read_marks(world.services, OPERATOR, KEY).tags) is may


def test_who_may_see_the_job_reads_what_is_written_on_it(world: World) -> None:
    tag(world, ADA, KEY, "paper")
    for viewer in (ADA, COORDINATOR, OPERATOR):
        assert jobs.read_marks(world.services, viewer, KEY).tags == ("paper",)
    with pytest.raises(jobs.JobNotFound):
        jobs.read_marks(world.services, BOB, KEY)


def test_a_job_of_another_and_none_are_answered_alike(world: World) -> None:
    others, none = tag(world, ADA, BOBS, "x"), tag(world, ADA, JobKey("local", 999, 5), "x")
    assert others.problem.replace("2", "N") == none.problem.replace("999", "N")


def test_a_job_is_found_by_its_tag_only_by_whoever_sees_it(world: World) -> None:
    tag(world, ADA, KEY, "Paper")
    tag(world, OPERATOR, BOBS, "paper")
    search = world.services.history.search
    question = HistoryQuestion(tags=("paper",))
    assert [search(question, scope_of(v)).table["job_id"].to_pylist() for v in (ADA, BOB, OPERATOR)] == [
        [1], [2], [2, 1]
    ]  # fmt: skip


def test_a_tag_stays_on_a_job_that_is_requeued_and_is_not_on_one_that_has_its_number_later(world: World) -> None:
    tag(world, ADA, KEY, "kept")
    folder = world.services.settings.instance.data_dir / "accounting"
    again = [
        row(1, "2026-10-01", submit_s=at("2026-10-01"), state="REQUEUED"),
        row(1, "2026-10-03", submit_s=at("2026-10-01T01:00")),
        row(1, "2026-11-02", "bob"),
    ]
    fill(folder, again, cluster="local")
    assert world.services.history.search(HistoryQuestion(tags=("kept",)), scope_of(OPERATOR)).rows[0]["attempt"] == 2
    assert jobs.read_marks(world.services, OPERATOR, JobKey("local", 1, at("2026-11-02"))).tags == ()


def test_a_job_of_the_queue_that_the_accounts_don_t_know_yet_is_tagged(world: World) -> None:
    live = next(each for each in world.services.snapshots.current.jobs.table.to_pylist() if each["job_id"] == 77)
    key = JobKey("local", 77, live["submit_s"])
    assert tag(world, ADA, key, "now").marks.tags == ("now",)
    assert jobs.marks_of(world.services, [live], "local")[0].tags == ("now",)


def test_taking_a_tag_off_and_emptying_a_note(world: World) -> None:
    tag(world, ADA, KEY, "a", "b")
    assert tag(world, ADA, KEY, remove=("A",)).marks.tags == ("b",)
    jobs.write_note(world.services, ADA, KEY, "see fig. 3")
    assert jobs.write_note(world.services, ADA, KEY, "").note == ""


def test_each_change_leaves_an_audit_line_and_what_changes_nothing_none(world: World) -> None:
    tag(world, ADA, KEY, "a")
    tag(world, ADA, KEY, "a")
    jobs.write_note(world.services, ADA, KEY, "secret words")
    with world.services.db.read() as rows:
        found = [(each.action, each.target, each.detail) for each in rows.scalars(select(Audit))]
    assert found == [
        ("job.tag", "local/1", {"add": ["a"], "remove": []}), ("job.note", "local/1", {"length": 12})
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", " ", "two words", "a,b", "x" * 41, "<b>", "a\nb", "-x", "\u202ea"])
def test_what_is_no_tag_is_refused(world: World, text: str) -> None:
    with pytest.raises(NotAsked):
        tag(world, ADA, KEY, text)


def test_tags_and_notes_have_limits(world: World) -> None:
    assert tag(world, ADA, KEY, *(f"t{n}" for n in range(20))).problem == ""
    assert "20 tags" in tag(world, ADA, KEY, "one-more").problem
    with pytest.raises(MarkRefused):
        jobs.write_note(world.services, ADA, KEY, "x" * 4001)
    with pytest.raises(MarkRefused):
        jobs.tag_jobs(world.services, ADA, [KEY] * 201, add=["a"])


# -- saved filters -------------------------------------------------------------------------------------------


def test_a_filter_is_its_owners_alone(world: World) -> None:
    filters = world.services.filters
    kept = filters.save(ADA, " My  failed jobs ", "state=FAILED&window=90d")
    assert [(each.name, each.query) for each in filters.of(ADA)] == [("My failed jobs", "state=FAILED&window=90d")]
    assert filters.of(OPERATOR) == []
    for change in (
        lambda: filters.rename(OPERATOR, kept.id, "x"),
        lambda: filters.delete(BOB, kept.id),
        lambda: filters.start_with(BOB, kept.id, start=True),
    ):
        with pytest.raises(FilterNotFound):
            change()
    assert filters.rename(ADA, kept.id, "Failed").name == "Failed"
    filters.delete(ADA, kept.id)
    assert filters.of(ADA) == []


def test_the_page_begins_with_one_filter_at_most(world: World) -> None:
    filters = world.services.filters
    first, second = filters.save(ADA, "one", "state=FAILED"), filters.save(ADA, "two", "window=7d")
    filters.start_with(ADA, first.id, start=True)
    filters.start_with(ADA, second.id, start=True)
    assert [each.name for each in filters.of(ADA) if each.start] == ["two"]
    filters.start_with(ADA, second.id, start=False)
    assert not any(each.start for each in filters.of(ADA))


@pytest.mark.parametrize(("name", "query"), [("", ""), ("x" * 81, ""), ("a\x00", ""), ("a", "q=" + "x" * 2000)])
def test_a_filter_without_a_name_or_of_endless_length_is_refused(world: World, name: str, query: str) -> None:
    with pytest.raises((FilterRefused, NotAsked)):
        world.services.filters.save(ADA, name, query)


def test_a_filter_that_asks_nothing_sensible_is_refused(world: World) -> None:
    with pytest.raises(NotAsked):
        world.services.filters.save(ADA, "bad", "state=ASLEEP")


# -- words ---------------------------------------------------------------------------------------------------

NOW_S = at("2026-11-05T12:00")


def read(**words: str) -> HistoryQuestion:
    return read_words({name: [value] for name, value in words.items()}, zone=ZoneInfo("UTC"), now_s=NOW_S).question


@pytest.mark.parametrize(
    ("words", "question"),
    [
        ({"state": "failed,TIMEOUT"}, HistoryQuestion(states=("FAILED", "TIMEOUT"))),
        ({"window": "7d"}, HistoryQuestion(since_s=NOW_S - 7 * 86400)),
        ({"since": "2026-10", "until": "today"}, HistoryQuestion(since_s=at("2026-10-01"), until_s=at("2026-11-05"))),
        ({"gpus": "4"}, HistoryQuestion(gpus=Range(4, 4))),
        ({"nodes": "2..", "cpus": "..8"}, HistoryQuestion(nodes=Range(2), cpus=Range(None, 8))),
        ({"wall": "90m..1d12h"}, HistoryQuestion(wall_s=Range(5400, 129600))),
        ({"gpu_eff": "..5.5"}, HistoryQuestion(gpu_percent=Range(None, 5.5))),
        ({"job": "4711_3,12"}, HistoryQuestion(jobs=(4711, 12))),
        ({"sort": "cpus", "order": "asc"}, HistoryQuestion(sort="cpus", descending=False)),
        ({"name": " a b "}, HistoryQuestion(name="a b")),
        ({"tag": "Paper"}, HistoryQuestion(tags=("paper",))),
    ],
)
def test_words_ask_what_they_say(words: dict[str, str], question: HistoryQuestion) -> None:
    assert read(**words) == question


@pytest.mark.parametrize(
    "words",
    [
        {"state": "ASLEEP"}, {"window": "2d"}, {"since": "tomorrowish"}, {"since": "today", "until": "today"},
        {"gpus": ".."}, {"gpus": "8..4"}, {"gpus": "-1"}, {"gpus": "nan"}, {"gpus": "9" * 30}, {"wall": "1y"},
        {"job": "x"}, {"sort": "user"}, {"order": "up"}, {"who": "root"}, {"colour": "red"}, {"user": "x" * 200},
        {"name": "x" * 201}, {"job": ",".join(str(n) for n in range(200))}, {"tag": "two words"},
    ],
)  # fmt: skip
def test_words_that_ask_nothing_are_refused(words: dict[str, str]) -> None:
    with pytest.raises(NotAsked) as refused:
        read(**words)
    assert str(refused.value)


@given(st.dictionaries(st.sampled_from(["state", "gpus", "wall", "job", "since", "name", "tag", "sort", "user"]),
                       st.text(max_size=40)))  # fmt: skip
def test_any_words_are_read_or_refused(words: dict[str, str]) -> None:
    try:
        read(**words)
    except NotAsked as error:
        assert str(error)
