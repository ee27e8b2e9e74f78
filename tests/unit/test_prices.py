"""The price list: who sets it, from when it holds, and that what was reckoned with it stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from backend.accounting.budgets import BudgetError, BudgetRefused, PriceDraft
from backend.accounting.usage import Question, Scope
from tests.unit.budgets_kit import ADA, CLEO, CPU, NOW_S, OLGA, Desk, daily
from tests.unit.usage_kit import at

ALL = Scope(everything=True)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, daily([10.0] * 5))


def refused(desk: Desk, draft: PriceDraft) -> tuple[str, str]:
    with pytest.raises(BudgetRefused) as error:
        desk.prices.set(OLGA, draft)
    return error.value.part, str(error.value)


@pytest.mark.parametrize("viewer", [ADA, CLEO])
def test_only_those_who_run_the_site_set_prices(desk: Desk, viewer: object) -> None:
    with pytest.raises(BudgetRefused, match="Only operators"):
        desk.prices.set(viewer, CPU)  # type: ignore[arg-type]
    with pytest.raises(BudgetRefused):
        desk.prices.set_currency(viewer, "EUR")  # type: ignore[arg-type]
    assert desk.prices.current().prices == ()


def test_what_never_had_a_price_may_get_one_in_the_past(desk: Desk) -> None:
    desk.prices.set(OLGA, CPU)
    answer = desk.usage.ask(Question(("cost",), at("2026-11-01"), NOW_S), ALL)
    assert answer.totals["cost"] == 25.0
    assert desk.lines("prices.set") == [("olga", "cpu", "done")]


def test_a_price_in_force_is_followed_by_a_later_one_only(desk: Desk) -> None:
    desk.prices.set(OLGA, CPU)
    for day in ("2026-10-01", "2026-11-01", "2026-11-19", "2026-11-20"):
        part, words = refused(desk, replace(CPU, amount="9", day=day))
        assert part == "day"
        assert "2026-11-21" in words
        assert "never had a price" in words
    desk.prices.set(OLGA, replace(CPU, amount="9", day="2026-11-21"))
    assert [(row.amount, row.until_s) for row in desk.prices.listed()] == [("9", None), ("0.5", at("2026-11-21"))]


def test_a_price_in_force_is_not_taken_back(desk: Desk) -> None:
    price_id = desk.prices.set(OLGA, CPU)
    with pytest.raises(BudgetRefused, match="in force"):
        desk.prices.withdraw(OLGA, price_id)


def test_a_price_to_come_is_replaced_and_taken_back(desk: Desk) -> None:
    coming = replace(CPU, day="2026-12-01")
    first = desk.prices.set(OLGA, coming)
    assert desk.prices.set(OLGA, replace(coming, amount="0.7")) == first
    desk.prices.withdraw(OLGA, first)
    assert desk.prices.listed() == []
    assert desk.lines("prices.withdraw") == [("olga", "cpu", "done")]


def test_a_narrower_price_does_not_change_what_a_wider_one_has_priced(desk: Desk) -> None:
    desk.prices.set(OLGA, CPU)
    part, words = refused(desk, replace(CPU, partition="gpu", day="2026-11-10"))
    assert part == "day"
    assert "Such usage has had the price of cpu" in words
    desk.prices.set(OLGA, replace(CPU, partition="gpu", day="2026-11-21"))


def test_a_type_of_gpu_does_not_change_what_gpus_of_any_type_have_cost(desk: Desk) -> None:
    gpu = replace(CPU, tres="gres/gpu")
    desk.prices.set(OLGA, gpu)
    assert refused(desk, replace(gpu, tres="gres/gpu:a100"))[0] == "day"
    desk.prices.set(OLGA, replace(gpu, tres="node"))
    desk.prices.set(OLGA, replace(gpu, tres="mem"))


def test_a_wider_price_may_begin_in_the_past_for_what_had_none(desk: Desk) -> None:
    desk.prices.set(OLGA, replace(CPU, partition="gpu"))
    desk.prices.set(OLGA, CPU)
    assert len(desk.prices.current().prices) == 2


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"tres": "gold"}, "tres"), ({"tres": "cpu:fast"}, "tres"), ({"tres": "gres/gpu:"}, "tres"),
        ({"amount": "much"}, "amount"), ({"amount": "-1"}, "amount"), ({"amount": "NaN"}, "amount"),
        ({"amount": "0,05"}, "amount"), ({"amount": "0.000000001"}, "amount"), ({"amount": "1e13"}, "amount"),
        ({"day": "soon"}, "day"), ({"day": "0001-01-01"}, "day"), ({"partition": "a,b"}, "partition"),
        ({"qos": "x\n"}, "qos"), ({"qos": "y" * 65}, "qos"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_by_its_field(desk: Desk, changed: dict[str, str], part: str) -> None:
    assert refused(desk, replace(CPU, **changed))[0] == part


def test_amounts_are_kept_to_their_last_digit(desk: Desk) -> None:
    desk.prices.set(OLGA, replace(CPU, amount="0.10000001"))
    assert str(desk.prices.current().prices[0].amount) == "0.10000001"


def test_a_comma_is_answered_with_how_to_write_it(desk: Desk) -> None:
    assert "0.05" in refused(desk, replace(CPU, amount="0,05"))[1]


def test_the_day_begins_in_the_sites_zone(tmp_path: Path) -> None:
    desk = Desk(tmp_path, zone="Asia/Kathmandu")
    desk.prices.set(OLGA, CPU)
    assert desk.prices.current().prices[0].from_s == at("2026-11-01T00:00+05:45")


def test_the_currency_stays_once_a_price_is_in_force(desk: Desk) -> None:
    desk.prices.set_currency(OLGA, "EUR")
    desk.prices.set_currency(OLGA, "€")
    desk.prices.set(OLGA, CPU)
    with pytest.raises(BudgetRefused, match="in force"):
        desk.prices.set_currency(OLGA, "CHF")
    assert desk.prices.current().currency == "€"
    assert len(desk.lines("prices.currency")) == 2


@pytest.mark.parametrize("text", ["", "  ", "EUR per hour", "<b>", "12"])
def test_a_currency_is_a_short_name_or_a_sign(desk: Desk, text: str) -> None:
    with pytest.raises(BudgetRefused):
        desk.prices.set_currency(OLGA, text)


def test_another_process_sees_the_new_price_at_once(desk: Desk) -> None:
    other = Desk.__new__(Desk)
    other.__dict__ |= desk.__dict__
    question = Question(("cost",), at("2026-11-01"), NOW_S)
    assert desk.usage.ask(question, ALL).totals["cost"] is None
    from backend.accounting.budgets import PriceBook

    PriceBook(desk.db, "UTC", clock=desk.clock).set(OLGA, CPU)
    assert desk.usage.ask(question, ALL).totals["cost"] == 25.0


def test_a_price_that_is_not_there_is_said_to_be_so(desk: Desk) -> None:
    with pytest.raises(BudgetError):
        desk.prices.withdraw(OLGA, "nothing")
