"""The way in: a ticket works once, for one login, session and app; a grant as long as both hold."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import update

from backend.sessions import Routes, SessionNotFound
from backend.sessions.routes import forget_old
from backend.store import models
from tests.unit.sessions_kit import ADA, BOB, OPERATOR, Desk, job


class Logins:
    """All logins hold but those a test has ended."""

    def __init__(self) -> None:
        self.ended: set[str] = set()

    def ended_among(self, login_ids: list[str]) -> set[str]:
        return self.ended & set(login_ids)


class Door:
    """A console with one ready session of Ada's."""

    def __init__(self, folder: Path) -> None:
        self.desk = Desk(folder)
        self.logins = Logins()
        self.routes = Routes(self.desk.db, self.desk.box, self.logins)
        self.session_id = asyncio.run(self.desk.launch(gpus=1))
        self.desk.look(jobs=[job(self.session_id, 7)])
        self.desk.rows.change(self.session_id, lambda row: {"port": 40123, "state": "ready"})

    def ticket(self) -> str:
        return self.routes_ticket("jupyterlab")

    def routes_ticket(self, app: str) -> str:
        return self.desk.sessions.issue_ticket(ADA, self.session_id, app)

    def enter(self) -> str:
        entered = self.routes.redeem(self.ticket(), self.session_id)
        assert entered is not None
        return entered.cookie


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


def test_a_ticket_becomes_a_grant_that_opens_the_session(door: Door) -> None:
    entered = door.routes.redeem(door.ticket(), door.session_id)
    assert entered is not None
    assert entered.app == "jupyterlab"
    standing = door.routes.standing(entered.cookie, door.session_id)
    assert standing is not None
    assert (standing.person, standing.login_id, standing.state) == ("ada", "login-of-ada", "open")
    route = standing.route
    assert route is not None
    assert (route.address, route.port, route.apps) == ("10.0.0.2", 40123, ("jupyterlab",))
    assert route.fingerprint == door.desk.row(door.session_id).tls_fingerprint
    assert route.secret not in repr(route)
    assert door.routes.grant(entered.cookie, door.session_id) == "ada"


def test_a_ticket_works_once(door: Door) -> None:
    ticket = door.ticket()
    assert door.routes.redeem(ticket, door.session_id) is not None
    assert door.routes.redeem(ticket, door.session_id) is None


def test_of_many_at_once_one_redeems_it(door: Door) -> None:
    ticket = door.ticket()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: door.routes.redeem(ticket, door.session_id), range(8)))
    assert sum(answer is not None for answer in answers) == 1


def test_a_ticket_of_another_session_opens_nothing_and_is_not_used_up(door: Door) -> None:
    other = asyncio.run(door.desk.launch(gpus=1))
    ticket = door.ticket()
    assert door.routes.redeem(ticket, other) is None
    assert door.routes.redeem(ticket, door.session_id) is not None


def test_an_old_ticket_is_refused(door: Door) -> None:
    ticket = door.ticket()
    with door.desk.db.begin() as tx:
        tx.execute(update(models.Ticket).values(expires_s=int(time.time()) - 1))
    assert door.routes.redeem(ticket, door.session_id) is None


def test_a_ticket_of_a_login_that_has_ended_is_refused(door: Door) -> None:
    ticket = door.ticket()
    door.logins.ended.add("login-of-ada")
    assert door.routes.redeem(ticket, door.session_id) is None


@pytest.mark.parametrize("value", ["", "x", "x" * 500, "\x00", "é"])
def test_made_up_tickets_and_cookies_are_nothing(door: Door, value: str) -> None:
    assert door.routes.redeem(value, door.session_id) is None
    assert door.routes.standing(value, door.session_id) is None


@pytest.mark.parametrize("viewer", [BOB, OPERATOR])
def test_nobody_else_gets_a_ticket_not_even_an_operator(door: Door, viewer: object) -> None:
    with pytest.raises(SessionNotFound):
        door.desk.sessions.issue_ticket(viewer, door.session_id, "jupyterlab")  # type: ignore[arg-type]


def test_there_is_no_ticket_for_an_app_the_session_lacks_or_a_session_that_is_over(door: Door) -> None:
    with pytest.raises(SessionNotFound):
        door.routes_ticket("code-server")
    door.desk.rows.change(door.session_id, lambda row: {"state": "ended"})
    with pytest.raises(SessionNotFound):
        door.ticket()


def test_a_grant_is_worth_nothing_once_its_login_ends(door: Door) -> None:
    cookie = door.enter()
    door.logins.ended.add("login-of-ada")
    standing = door.routes.standing(cookie, door.session_id)
    assert standing is not None
    assert (standing.state, standing.route) == ("signed-out", None)
    assert door.routes.grant(cookie, door.session_id) is None


def test_a_grant_ends_with_the_session(door: Door) -> None:
    cookie = door.enter()
    door.desk.rows.change(door.session_id, lambda row: {"state": "ended"})
    standing = door.routes.standing(cookie, door.session_id)
    assert standing is not None
    assert (standing.state, standing.route) == ("over", None)
    assert door.routes.route(door.session_id) is None


def test_a_grant_of_one_session_opens_no_other_of_the_same_person(door: Door) -> None:
    other = asyncio.run(door.desk.launch(gpus=1))
    assert door.routes.standing(door.enter(), other) is None


def test_without_a_confirmed_job_there_is_no_way_even_with_a_port(door: Door) -> None:
    fresh = asyncio.run(door.desk.launch(gpus=1))
    door.desk.rows.change(fresh, lambda row: {"port": 40124})
    assert door.routes.route(fresh) is None


def test_neither_tickets_nor_grants_are_stored_as_they_are(door: Door) -> None:
    ticket = door.ticket()
    cookie = door.enter()
    content = b"".join(path.read_bytes() for path in door.desk.settings.instance.data_dir.glob("carme.db*"))
    assert ticket.encode() not in content
    assert cookie.encode() not in content


def test_asking_costs_little(door: Door) -> None:
    cookie = door.enter()
    began = time.perf_counter()
    for _ in range(50):
        door.routes.standing(cookie, door.session_id)
    assert (time.perf_counter() - began) / 50 < 0.02


def test_old_tickets_and_grants_are_cleared_away_and_live_ones_stay(door: Door) -> None:
    cookie, old = door.enter(), door.ticket()
    with door.desk.db.begin() as tx:
        tx.execute(update(models.Ticket).values(expires_s=1))
    forget_old(door.desk.db)
    assert door.routes.redeem(old, door.session_id) is None
    assert door.routes.grant(cookie, door.session_id) == "ada"
    door.desk.rows.change(door.session_id, lambda row: {"state": "ended", "end_s": 1})
    forget_old(door.desk.db)
    assert door.routes.standing(cookie, door.session_id) is None


def test_open_grants_are_told_apart_all_at_once(door: Door) -> None:
    mine, other = door.enter(), door.enter()
    asked = [(mine, door.session_id), (other, door.session_id), ("guess", door.session_id), (mine, "snone000001")]
    assert door.routes.open_among(asked) == {(mine, door.session_id), (other, door.session_id)}
    assert door.routes.open_among([]) == set()
    door.logins.ended.add("login-of-ada")
    assert door.routes.open_among(asked) == set()
    door.logins.ended.clear()
    door.desk.rows.change(door.session_id, lambda row: {"state": "ended"})
    assert door.routes.open_among(asked) == set()
