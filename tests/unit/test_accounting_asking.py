"""Questions from text, as the command line and REST take them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.accounting.asking import Words, read_filters, read_names, read_question, read_time, read_zone
from backend.accounting.usage import BadQuestion

UTC = ZoneInfo("UTC")
BERLIN = ZoneInfo("Europe/Berlin")
NOW_S = datetime(2026, 3, 29, 12, 0, tzinfo=timezone.utc).timestamp()  # the day the clocks go forward in Berlin
ASKED = Words(since="2026-11-01", until="2026-12-01", metrics=["cpu_hours"])


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


@pytest.mark.parametrize(
    ("text", "zone", "moment"),
    [
        ("2026-11-01", UTC, "2026-11-01T00:00+00:00"),
        ("2026-11-01", BERLIN, "2026-11-01T00:00+01:00"),
        ("2026-07", BERLIN, "2026-07-01T00:00+02:00"),
        ("2026", BERLIN, "2026-01-01T00:00+01:00"),
        ("2026-11-01T12:30", BERLIN, "2026-11-01T12:30+01:00"),
        ("2026-11-01 12:30:05", BERLIN, "2026-11-01T12:30:05+01:00"),
        ("2026-11-01T12:30Z", BERLIN, "2026-11-01T12:30+00:00"),
        ("2026-11-01T12:30-05:00", BERLIN, "2026-11-01T12:30-05:00"),
        ("@1700000000", BERLIN, "2023-11-14T22:13:20+00:00"),
        ("now", BERLIN, "2026-03-29T12:00+00:00"),
        ("now-2hours", BERLIN, "2026-03-29T10:00+00:00"),
        ("today", BERLIN, "2026-03-29T00:00+01:00"),
        ("tomorrow", BERLIN, "2026-03-30T00:00+02:00"),  # after a day of 23 hours
        ("today-1week", BERLIN, "2026-03-22T00:00+01:00"),
        ("yesterday", UTC, "2026-03-28T00:00+00:00"),
    ],
)
def test_times_are_read_in_the_zone(text: str, zone: ZoneInfo, moment: str) -> None:
    assert read_time(text, zone, NOW_S) == at(moment)


@pytest.mark.parametrize(
    "text", ["", "soon", "2026-13-01", "2026-02-30", "0000", "26-01-01", "now-", "now-1", "@", "2026-01-01T25:00"]
)
def test_what_is_no_time_is_refused_with_the_part_to_change(text: str) -> None:
    with pytest.raises(BadQuestion) as refused:
        read_question(replace(ASKED, since=text), NOW_S)
    assert refused.value.part == "since"


@given(st.text(max_size=30))
def test_any_text_is_a_time_or_a_bad_question(text: str) -> None:
    try:
        read_time(text, BERLIN, NOW_S)
    except BadQuestion as refused:
        assert refused.part == "time"


@given(st.integers(0, 99_999_999_999))
def test_unix_seconds_are_taken_as_they_are(seconds: int) -> None:
    assert read_time(f"@{seconds}", BERLIN, NOW_S) == seconds


def test_names_come_with_commas_or_one_by_one_and_once() -> None:
    assert read_names(["day,user", "day", " account "], "by") == ("day", "user", "account")


def test_values_of_one_filter_gather_and_may_hold_anything() -> None:
    found = read_filters(["user=ada", "account=a=b,c", "user=eve", "reservation="])
    assert found == (("user", ("ada", "eve")), ("account", ("a=b,c",)), ("reservation", ("",)))


@given(st.lists(st.tuples(st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.text(max_size=20)), max_size=20))
def test_a_filter_comes_out_as_it_went_in(pairs: list[tuple[str, str]]) -> None:
    texts = [f"{key}={value}" for key, value in pairs if "\x00" not in value]
    found = {(key, value) for key, values in read_filters(texts) for value in values}
    assert found == {(key, value) for key, value in pairs if "\x00" not in value}


@pytest.mark.parametrize("text", ["user", "=x", "User=x", "user = x", "user=\x00", "user=" + "x" * 300, "user=\udc80"])
def test_what_is_no_filter_is_refused(text: str) -> None:
    with pytest.raises(BadQuestion) as refused:
        read_filters([text])
    assert refused.value.part == "where"


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "../../etc/passwd", "America", "/etc/localtime", "a\x00b"])
def test_a_zone_that_nobody_knows_is_refused(name: str) -> None:
    with pytest.raises(BadQuestion) as refused:
        read_zone(name)
    assert refused.value.part == "tz"


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (replace(ASKED, until="2026-11-01"), "until"),
        (replace(ASKED, until="2026-10-01"), "until"),
        (replace(ASKED, metrics=[","]), "metric"),
        (replace(ASKED, metrics=["cpu hours; drop"]), "metric"),
        (replace(ASKED, by=['user"']), "by"),
        (replace(ASKED, definitions="theirs"), "definitions"),
        (replace(ASKED, order="--cpu_hours"), "order"),
        (replace(ASKED, limit=0), "limit"),
    ],
)
def test_a_question_that_makes_no_sense_names_the_word_to_change(words: Words, part: str) -> None:
    with pytest.raises(BadQuestion) as refused:
        read_question(words, NOW_S)
    assert refused.value.part == part


def test_the_whole_question() -> None:
    words = replace(
        ASKED, by=["day,user"], where=["partition=gpu"], zone="Europe/Berlin", definitions="xdmod", order="-cpu_hours"
    )
    found = read_question(words, NOW_S)
    assert (found.metrics, found.by, found.where) == (("cpu_hours",), ("day", "user"), (("partition", ("gpu",)),))
    assert (found.since_s, found.until_s) == (at("2026-11-01T00:00+01:00"), at("2026-12-01T00:00+01:00"))
    assert (found.zone, found.definitions, found.order, found.limit) == ("Europe/Berlin", "xdmod", "-cpu_hours", None)
