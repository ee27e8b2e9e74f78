"""Days in every zone: none overlaps, none is missing, and they read as the clock does."""

from __future__ import annotations

import itertools
from datetime import date, datetime
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.accounting.usage import TIME, BadQuestion
from backend.accounting.usage.terms.zones import day_start_s, stretches, zone_of
from tests.unit.usage_kit import at

ZONES = sorted(available_timezones())
MOMENTS = st.integers(at("1972-01-01"), at("2040-01-01"))


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(ZONES), MOMENTS, st.integers(1, 40 * 86400), st.sampled_from(TIME))
def test_stretches_cover_the_window_without_gap_or_overlap(zone: str, since_s: int, length_s: int, kind: str) -> None:
    found = stretches(kind, ZoneInfo(zone), since_s, since_s + length_s)
    assert found[0].from_s <= since_s < found[0].to_s
    assert found[-1].from_s < since_s + length_s <= found[-1].to_s
    assert all(one.to_s == other.from_s for one, other in itertools.pairwise(found))
    assert all(each.from_s < each.to_s for each in found)
    assert len({each.label for each in found}) == len(found)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(ZONES), MOMENTS)
def test_a_day_begins_when_its_date_is_first_on_the_clock(zone: str, moment_s: int) -> None:
    clock = ZoneInfo(zone)
    (day, *_) = stretches("day", clock, moment_s, moment_s + 1)
    assert datetime.fromtimestamp(day.from_s, clock).date() == date.fromisoformat(day.label)
    assert datetime.fromtimestamp(day.from_s - 1, clock).date() < date.fromisoformat(day.label)


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2026-03-29", 23), ("Europe/Berlin", "2026-10-25", 25), ("UTC", "2026-03-29", 24),
        ("Australia/Lord_Howe", "2026-04-05", 24.5), ("Australia/Lord_Howe", "2026-10-04", 23.5),
        ("America/Sao_Paulo", "2018-11-04", 23), ("America/Sao_Paulo", "2018-02-17", 25),
        ("America/Havana", "2026-03-08", 23), ("America/Havana", "2026-11-01", 25),
    ],
)  # fmt: skip
def test_a_day_is_as_long_as_its_clock_runs(zone: str, day: str, hours: float) -> None:
    (found,) = (each for each in stretches("day", ZoneInfo(zone), at(day), at(day) + 2 * 86400) if each.label == day)
    assert (found.to_s - found.from_s) / 3600 == hours


def test_a_day_that_a_place_has_skipped_is_not_there() -> None:
    found = stretches("day", ZoneInfo("Pacific/Apia"), at("2011-12-29"), at("2012-01-02"))
    assert "2011-12-30" not in [each.label for each in found]


def test_labels_sort_as_time_goes() -> None:
    for kind in set(TIME) - {"hour"}:
        labels = [each.label for each in stretches(kind, zone_of("UTC"), at("2024-11-01"), at("2026-03-01"))]
        assert labels == sorted(labels)


def test_a_week_is_the_calendars_and_begins_on_monday() -> None:
    (week,) = stretches("week", zone_of("UTC"), at("2027-01-01"), at("2027-01-02"))
    assert (week.label, week.from_s) == ("2026-W53", at("2026-12-28"))


def test_midnight_is_known_where_it_is_skipped() -> None:
    assert day_start_s(date(2018, 11, 4), ZoneInfo("America/Sao_Paulo")) == at("2018-11-04T03:00")


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "../../etc/passwd", "America", "\x00"])
def test_no_zone_is_a_bad_question(name: str) -> None:
    with pytest.raises(BadQuestion) as refused:
        zone_of(name)
    assert refused.value.part == "zone"


def test_too_many_hours_are_a_bad_question() -> None:
    with pytest.raises(BadQuestion):
        stretches("hour", zone_of("UTC"), 0, at("2026-01-01"))
