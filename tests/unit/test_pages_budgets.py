"""The budgets page's side on the server: who is shown what, what is refused in words, and the chart's twin."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backend.identity import Viewer
from pages import budgets as page
from pages.parts.charts.burndown import burndown as chart_of
from pages.parts.charts.look import Look
from pages.parts.desk import Desk as OpenDocument
from pages.parts.desk import Refused
from tests.unit.budgets_kit import ADA, BOB, BUDGET, CLEO, CPU, OLGA, Desk, daily

LOOK = Look(width=900)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, daily([10.0] * 8, last="2026-11-19"))


def services(desk: Desk) -> Any:
    settings = SimpleNamespace(mail=SimpleNamespace(host=""))
    return SimpleNamespace(
        settings=settings, budgets=desk.budgets, prices=desk.prices, usage=desk.usage, snapshots=desk.snapshots
    )


def act(desk: Desk, viewer: Viewer, action: str, **args: Any) -> Any:
    document = OpenDocument(services(desk), viewer, None, {})  # type: ignore[arg-type]
    return asyncio.run(page.ACTIONS[action](document, args))


FORM = {
    "account": "physics", "metric": "cpu_hours", "amount": "100", "since": "2026-11-01", "until": "2026-11-30",
    "thresholds": "50, 80 %,100", "watchers": "a@example.org; b@example.org", "note": "",
}  # fmt: skip


def test_a_budget_is_made_listed_changed_and_ended(desk: Desk) -> None:
    made = act(desk, OLGA, "budgets.save", **FORM)
    assert (made["used"], made["thresholds"]) == (80.0, [50, 80, 100])
    assert act(desk, OLGA, "budgets.save", **{**FORM, "id": made["id"], "amount": "200"})["total"] == 200.0
    assert [each["id"] for each in act(desk, OLGA, "budgets.list")["budgets"]] == [made["id"]]
    assert act(desk, OLGA, "budgets.end", id=made["id"])["ended_s"]


@pytest.mark.parametrize(("viewer", "count"), [(OLGA, 1), (CLEO, 1), (ADA, 1), (BOB, 0)])
def test_each_is_shown_the_budgets_of_their_accounts(desk: Desk, viewer: Viewer, count: int) -> None:
    desk.budgets.save(OLGA, BUDGET)
    assert len(act(desk, viewer, "budgets.list")["budgets"]) == count


@pytest.mark.parametrize(
    ("action", "args"),
    [
        ("budgets.save", FORM), ("budgets.end", {}), ("budgets.currency", {"currency": "EUR"}),
        ("budgets.price", {"tres": "cpu", "amount": "1", "day": "2026-11-01"}), ("budgets.withdraw", {"id": "x"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("viewer", [CLEO, ADA, BOB])
def test_what_only_operators_may_is_refused(desk: Desk, viewer: Viewer, action: str, args: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="Only operators"):
        act(desk, viewer, action, **args)


def test_what_is_not_shown_is_not_there(desk: Desk) -> None:
    budget = desk.budgets.save(OLGA, BUDGET)
    for wanted in (budget.id, "nothing"):
        with pytest.raises(Refused, match="no such budget"):
            act(desk, BOB, "budgets.open", id=wanted)


def test_members_see_totals_and_no_mail_addresses(desk: Desk) -> None:
    budget = desk.budgets.save(OLGA, replace(BUDGET, watchers=("dean@example.org",)))
    desk.watch.look()
    seen = act(desk, ADA, "budgets.open", id=budget.id)
    assert seen["used"] == 80.0
    assert "example.org" not in str({key: value for key, value in seen.items() if key != "picture"})
    assert seen["told"][0]["sent"] == 2
    assert "dean@example.org" in str(act(desk, OLGA, "budgets.open", id=budget.id)["told"])


@pytest.mark.parametrize(
    ("changed", "field"),
    [({"thresholds": "half"}, "thresholds"), ({"amount": "much"}, "amount"), ({"until": "2026-01-01"}, "until")],
)
def test_what_is_wrong_is_told_beside_its_field(desk: Desk, changed: dict[str, str], field: str) -> None:
    with pytest.raises(Refused) as error:
        act(desk, OLGA, "budgets.save", **{**FORM, **changed})
    assert [name for name, _ in error.value.problems] == [field]


def test_the_price_list_is_shown_to_everybody_and_set_by_operators(desk: Desk) -> None:
    act(desk, OLGA, "budgets.price", tres="gres/gpu:a100", amount="2.50", day="2026-11-01", partition="", qos="")
    seen = act(desk, BOB, "budgets.prices")
    assert [(each["tres"], each["amount"]) for each in seen["prices"]] == [("gres/gpu:a100", "2.5")]
    assert not seen["may_price"]


def test_the_twin_holds_what_the_chart_draws(desk: Desk) -> None:
    made = desk.budgets.burndown(desk.budgets.save(OLGA, BUDGET))
    message = chart_of(made, LOOK, unit="h", zone="UTC").message()
    rows = message["twin"]["rows"]
    assert len(rows) == 30
    assert [cell[0] for cell in rows[18][:5]] == ["Thu 19 Nov 2026", "10.00 h", "80.00 h", "20.00 h", "36.67 h"]
    assert rows[29][2][0] == ""
    assert rows[29][5][0]
    assert "20.00 h of 100.0 h" in message["name"]


def test_more_than_the_budget_is_drawn_below_zero(tmp_path: Path) -> None:
    desk = Desk(tmp_path, daily([10.0] * 40, last="2026-11-19"))
    chart = chart_of(desk.budgets.burndown(desk.budgets.save(OLGA, BUDGET)), LOOK, unit="EUR", zone="UTC")
    assert chart.figure.y_range.start < -90
    assert len(chart.figure.yaxis[0].ticker.ticks) <= 9
    assert chart.twin.rows[18][3].text == "−90.00 EUR"


@pytest.mark.parametrize(
    "days", [("2026-12-01", "2026-12-31"), ("2026-10-01", "2026-10-01"), ("2016-12-01", "2026-11-20")]
)
@pytest.mark.parametrize("look", [LOOK, Look(dark=True, width=300)])
def test_any_period_can_be_drawn(desk: Desk, days: tuple[str, str], look: Look) -> None:
    budget = desk.budgets.save(OLGA, replace(BUDGET, since=days[0], until=days[1]))
    assert chart_of(desk.budgets.burndown(budget), look, unit="h", zone="UTC").item()


def test_a_cost_without_a_currency_is_a_plain_number(desk: Desk) -> None:
    desk.prices.set(OLGA, CPU)
    made = act(desk, OLGA, "budgets.save", **{**FORM, "metric": "cost"})
    assert (made["unit"], made["used"]) == ("", 40.0)
