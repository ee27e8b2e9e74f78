"""Budgets: who sees and makes them, how they burn down, and that each threshold is told once."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from backend.accounting.budgets import BudgetDraft, BudgetNotFound, BudgetRefused, Burndown
from backend.identity import Viewer
from backend.notices import MailError, NotSureSent
from tests.unit.budgets_kit import ADA, BOB, BUDGET, CLEO, CPU, DAY_S, NEVER_SEEN, NOW_S, OLGA, Desk, daily

LEO = Viewer("leo", "Leo", 1003, frozenset({"user"}), "l")
EARLY_S = 20 * DAY_S


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path, daily([10.0] * 8, last="2026-11-19"))


def burn(folder: Path, hours: list[float], draft: BudgetDraft = BUDGET, last: str = "2026-11-19") -> Burndown:
    desk = Desk(folder, daily(hours, last=last))
    return desk.budgets.burndown(desk.budgets.save(OLGA, draft))


# -- who --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("viewer", "sees"), [(OLGA, True), (CLEO, True), (ADA, True), (LEO, True), (BOB, False), (NEVER_SEEN, False)]
)
def test_a_budget_is_seen_by_the_people_of_its_account(desk: Desk, viewer: Viewer, sees: bool) -> None:
    budget = desk.budgets.save(OLGA, BUDGET)
    assert ([each.id for each in desk.budgets.shown(viewer)] == [budget.id]) is sees
    if sees:
        assert desk.budgets.get(viewer, budget.id) == budget
    else:
        with pytest.raises(BudgetNotFound):
            desk.budgets.get(viewer, budget.id)


def test_whose_jobs_were_charged_to_it_sees_it_too(tmp_path: Path) -> None:
    desk = Desk(tmp_path, daily([1.0] * 3, user="bob", account="lasers"))
    desk.budgets.save(OLGA, BUDGET)
    assert len(desk.budgets.shown(BOB)) == 1


@pytest.mark.parametrize("viewer", [CLEO, ADA, BOB])
def test_only_those_who_run_the_site_make_change_and_end_budgets(desk: Desk, viewer: Viewer) -> None:
    budget = desk.budgets.save(OLGA, BUDGET)
    for act in (
        lambda: desk.budgets.save(viewer, BUDGET),
        lambda: desk.budgets.save(viewer, BUDGET, budget.id),
        lambda: desk.budgets.end(viewer, budget.id),
    ):
        with pytest.raises(BudgetRefused, match="Only operators"):
            act()


def test_each_change_is_audited(desk: Desk) -> None:
    budget = desk.budgets.save(OLGA, BUDGET)
    desk.budgets.save(OLGA, replace(BUDGET, amount="200"), budget.id)
    desk.budgets.end(OLGA, budget.id)
    desk.budgets.end(OLGA, budget.id)
    for action in ("budget.make", "budget.change", "budget.end"):
        assert desk.lines(action) == [("olga", f"physics {budget.id}", "done")]


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"account": ""}, "account"), ({"account": "nowhere"}, "account"), ({"metric": "jobs"}, "metric"),
        ({"metric": "cost"}, "metric"), ({"amount": "0"}, "amount"), ({"amount": "a lot"}, "amount"),
        ({"since": ""}, "since"), ({"until": "2026-10-31"}, "until"), ({"until": "2126-10-31"}, "until"),
        ({"thresholds": (0,)}, "thresholds"), ({"thresholds": (1001,)}, "thresholds"),
        ({"watchers": ("nobody",)}, "watchers"), ({"note": "x" * 2001}, "note"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_by_its_field(desk: Desk, changed: dict[str, object], part: str) -> None:
    with pytest.raises(BudgetRefused) as error:
        desk.budgets.save(OLGA, replace(BUDGET, **changed))  # type: ignore[arg-type]
    assert error.value.part == part


# -- of a project --------------------------------------------------------------------------------------------

OF_PROJECT = replace(BUDGET, account="", project="P")


@pytest.mark.parametrize(
    ("accounts", "seers"),
    [
        (["physics"], {OLGA, CLEO, ADA, LEO}),
        (["physics", "lasers"], {OLGA, CLEO, LEO}),
        (["tiny:lasers"], {OLGA, CLEO, LEO}),
        (["physics", "biology"], {OLGA}),
        (["nowhere"], {OLGA}),
    ],
)
def test_a_project_s_budget_is_seen_by_who_would_see_one_of_each_of_its_accounts(
    desk: Desk, accounts: list[str], seers: set[Viewer]
) -> None:
    desk.projects.declare(P=accounts)
    budget = desk.budgets.save(OLGA, OF_PROJECT)
    everyone = {OLGA, CLEO, ADA, LEO, BOB, NEVER_SEEN}
    assert {each for each in everyone if desk.budgets.shown(each)} == seers
    for each in everyone - seers:
        with pytest.raises(BudgetNotFound):
            desk.budgets.get(each, budget.id)


@pytest.mark.parametrize("viewer", [CLEO, ADA])
def test_a_project_s_budget_is_made_by_those_who_run_the_site(desk: Desk, viewer: Viewer) -> None:
    desk.projects.declare(P=["physics"])
    with pytest.raises(BudgetRefused, match="Only operators"):
        desk.budgets.save(viewer, OF_PROJECT)


def test_a_project_s_budget_is_used_up_by_its_accounts(tmp_path: Path) -> None:
    rows = [*daily([3.0], account="lasers"), *daily([5.0, 0.0], account="biology"), *daily([7.0] + [0.0] * 2)]
    for number, row in enumerate(rows):
        row["job_id"] = number
    desk = Desk(tmp_path, rows)
    desk.projects.declare(P=["physics"], Q=["lasers"])
    budget = desk.budgets.save(OLGA, OF_PROJECT)
    assert desk.budgets.burndown(budget).total == 7.0
    assert desk.budgets.get(OLGA, budget.id) == budget
    desk.projects.declare(P=["physics", "biology"])  # as the list says now
    assert desk.budgets.burndown(budget).total == 15.0


def test_a_budget_of_a_project_that_there_is_no_more_counts_nothing_and_is_for_operators(desk: Desk) -> None:
    desk.projects.declare(P=["physics"])
    budget = desk.budgets.save(OLGA, replace(OF_PROJECT, amount="1"))
    desk.projects.declare(Q=["physics"])
    made = desk.budgets.burndown(budget)
    assert made.total == 0.0 and "no project of this name" in made.why_none
    assert desk.budgets.shown(OLGA) == [budget] and desk.budgets.shown(CLEO) == []
    assert desk.watch.look() == 0
    desk.projects.declare()
    assert desk.budgets.burndown(budget).total == 0.0


@pytest.mark.parametrize("changed", [{"project": "Q"}, {"account": "physics"}])
def test_a_project_that_is_not_there_or_beside_an_account_is_refused(desk: Desk, changed: dict[str, str]) -> None:
    desk.projects.declare(P=["physics"])
    with pytest.raises(BudgetRefused) as error:
        desk.budgets.save(OLGA, replace(OF_PROJECT, **changed))
    assert error.value.part == "project"


def test_a_threshold_of_a_project_is_told_to_who_coordinates_all_of_its_accounts(desk: Desk) -> None:
    desk.projects.declare(P=["physics"], Q=["lasers", "biology"])
    budget = desk.budgets.save(OLGA, OF_PROJECT)
    assert desk.budgets.coordinators(budget) == {"cleo"}
    assert desk.budgets.coordinators(desk.budgets.save(OLGA, replace(OF_PROJECT, project="Q"))) == frozenset()
    assert desk.watch.look() == 2
    ((to, subject, words),) = desk.inbox.mails
    assert to == ("cleo@example.org",)
    assert "of the budget of project P is used" in subject and "The budget of project P has reached" in words
    assert desk.lines("budget.make")[0] == ("olga", f"project P {budget.id}", "done")


# -- burn-down --------------------------------------------------------------------------------------------------


def test_use_adds_up_by_day_until_today(tmp_path: Path) -> None:
    made = burn(tmp_path, [10.0, 5.0], last="2026-11-02")
    assert made.used[:3] == (10.0, 15.0, 15.0)
    assert len(made.used) == 20
    assert made.total == 15.0
    assert made.ideal(29) == 100.0
    assert made.share == 0.15


def test_what_lies_before_the_period_does_not_count(tmp_path: Path) -> None:
    assert burn(tmp_path, [10.0, 5.0], last="2026-11-01").total == 5.0


def test_accounts_below_count_too(tmp_path: Path) -> None:
    desk = Desk(tmp_path, daily([3.0], account="lasers"))
    assert desk.budgets.burndown(desk.budgets.save(OLGA, BUDGET)).total == 3.0


def test_a_budget_in_money_follows_the_price_list(tmp_path: Path) -> None:
    desk = Desk(tmp_path, daily([10.0] * 8, last="2026-11-19"))
    desk.prices.set(OLGA, CPU)
    desk.prices.set_currency(OLGA, "EUR")
    made = desk.budgets.burndown(desk.budgets.save(OLGA, replace(BUDGET, metric="cost")))
    assert made.total == 40.0
    assert "Costs are in EUR." in made.notes


def test_even_use_goes_on_evenly(tmp_path: Path) -> None:
    made = burn(tmp_path, [2.0] * 40)
    assert made.forecast is not None
    assert made.total == 2.0 * 19
    # Half of today and ten days more, all alike: the band has no width.
    assert made.forecast.middle[-1] == pytest.approx(38 + 21)
    assert made.forecast.low == pytest.approx(made.forecast.middle)
    assert made.forecast.high == pytest.approx(made.forecast.middle)
    assert len(made.forecast.middle) == 11


def test_uneven_use_has_a_band_around_the_middle(tmp_path: Path) -> None:
    made = burn(tmp_path, [0.0, 8.0, 1.0, 4.0, 0.5] * 8)
    assert made.forecast is not None
    low, middle, high = (getattr(made.forecast, name)[-1] for name in ("low", "middle", "high"))
    assert low < middle < high


def test_the_day_on_which_it_will_be_used_up(tmp_path: Path) -> None:
    made = burn(tmp_path, [4.0] * 40)  # 76 at midnight, 24 more in six days
    assert made.forecast is not None
    assert made.forecast.out_day == date(2026, 11, 26)
    assert made.forecast.out_early == made.forecast.out_late == made.forecast.out_day


def test_a_day_after_the_period_is_told_as_well(tmp_path: Path) -> None:
    made = burn(tmp_path, [2.0] * 40)
    assert made.forecast is not None
    assert made.forecast.out_day == date(2026, 12, 21)
    assert made.forecast.out_early is None


def test_a_budget_that_is_used_up_says_since_when(tmp_path: Path) -> None:
    made = burn(tmp_path, [10.0] * 40)
    assert made.used_up == date(2026, 11, 10)
    assert made.forecast is not None
    assert made.forecast.out_day is None


@pytest.mark.parametrize(("days", "there"), [(6, False), (7, True)])
def test_a_forecast_needs_seven_days(tmp_path: Path, days: int, there: bool) -> None:
    made = burn(tmp_path, [1.0] * days)
    assert (made.forecast is not None) is there
    if not there:
        assert "6 so far" in made.why_none


def test_an_idle_account_still_has_its_days(tmp_path: Path) -> None:
    made = burn(tmp_path, [5.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    assert made.forecast is not None
    assert made.forecast.history_days == 9


def test_a_period_that_is_over_has_no_forecast(tmp_path: Path) -> None:
    made = burn(tmp_path, [5.0] * 40, replace(BUDGET, since="2026-10-01", until="2026-10-31"))
    assert made.forecast is None
    assert len(made.used) == 31
    assert made.why_none == "The period is over."


def test_a_period_to_come_is_forecast_from_its_first_day(tmp_path: Path) -> None:
    made = burn(tmp_path, [2.0] * 40, replace(BUDGET, since="2026-12-01", until="2026-12-10"))
    assert made.used == ()
    assert made.forecast is not None
    assert made.forecast.middle[-1] == pytest.approx(20.0)


# -- notices ----------------------------------------------------------------------------------------------------


def test_a_threshold_is_told_to_coordinators_and_watchers_once(desk: Desk) -> None:
    budget = desk.budgets.save(OLGA, replace(BUDGET, watchers=("dean@example.org", "CLEO@example.org")))
    assert desk.watch.look() == 2  # 80 % is used: 50 and 80
    assert [mail[0] for mail in desk.inbox.mails] == [("cleo@example.org",), ("dean@example.org",)]
    assert "80 %" in desk.inbox.mails[0][1]
    assert f"https://c.example.org/budgets?budget={budget.id}" in desk.inbox.mails[0][2]
    assert desk.watch.look() == desk.watching().look() == 0
    assert len(desk.inbox.mails) == 2
    told, passed = desk.budgets.notices(budget)
    assert (told.threshold, told.state, passed.threshold, passed.state) == (80, "told", 50, "passed")
    assert [(mail["to"], mail["state"]) for mail in told.mails] == [
        ("cleo@example.org", "sent"), ("dean@example.org", "sent")
    ]  # fmt: skip
    assert len(desk.lines("budget.told")) == 1


def test_what_was_not_sent_is_kept_and_tried_again(desk: Desk) -> None:
    budget = desk.budgets.save(OLGA, BUDGET)
    desk.inbox.wrong = MailError("The mail server is away.")
    desk.watch.look()
    (notice, _) = desk.budgets.notices(budget)
    assert notice.state == "waiting"
    assert notice.mails[0]["why"] == "The mail server is away."
    desk.inbox.wrong = None
    desk.clock.forward(61)
    desk.watch.look()
    assert desk.budgets.notices(budget)[0].state == "told"
    assert len(desk.inbox.mails) == 1


def test_a_mail_that_may_have_gone_out_is_not_sent_again(desk: Desk) -> None:
    budget = desk.budgets.save(OLGA, BUDGET)
    desk.inbox.wrong = NotSureSent("The server went away.")
    desk.watch.look()
    desk.inbox.wrong = None
    desk.clock.forward(DAY_S)
    desk.watch.look()
    assert desk.inbox.mails == []
    assert desk.budgets.notices(budget)[0].mails[0]["state"] == "unsure"


def test_without_a_mail_server_the_page_still_tells(desk: Desk) -> None:
    budget = desk.budgets.save(OLGA, BUDGET)
    desk.inbox.able = False
    desk.watch.look()
    assert desk.budgets.notices(budget)[0].mails[0]["why"] == "This console sends no mail."


def test_a_process_that_died_while_sending_is_told_apart(desk: Desk) -> None:
    budget = desk.budgets.save(OLGA, BUDGET)
    desk.inbox.wrong = KeyboardInterrupt()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        desk.watch.look()
    desk.inbox.wrong = None
    again = desk.watching()
    again.give_up_stale()
    again.look()
    assert desk.inbox.mails == []
    assert "stopped meanwhile" in desk.budgets.notices(budget)[0].mails[0]["why"]


def test_a_new_amount_is_told_anew(desk: Desk) -> None:
    budget = desk.budgets.save(OLGA, BUDGET)
    desk.watch.look()
    desk.budgets.save(OLGA, replace(BUDGET, note="no matter"), budget.id)
    assert desk.watch.look() == 0
    desk.budgets.save(OLGA, replace(BUDGET, amount="160"), budget.id)
    assert desk.watch.look() == 1
    assert "50 %" in desk.inbox.mails[-1][1]


def test_a_budget_that_was_ended_or_is_long_over_tells_nothing(desk: Desk) -> None:
    budget = desk.budgets.save(OLGA, BUDGET)
    desk.budgets.end(OLGA, budget.id)
    desk.budgets.save(OLGA, replace(BUDGET, since="2026-11-01", until="2026-11-12", amount="1"))
    desk.clock.now_s = NOW_S
    assert desk.watch.look() == 0


def test_a_name_that_was_anothers_shows_nothing_of_the_other(tmp_path: Path) -> None:
    desk = Desk(tmp_path, daily([1.0] * 3, user="eve"))  # of another uid
    desk.budgets.save(OLGA, BUDGET)
    assert desk.budgets.shown(NEVER_SEEN) == []
