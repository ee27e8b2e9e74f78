"""The proxy's doors on a real database, and how it remembers what they said."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyotp
import pytest
from sqlalchemy.exc import OperationalError

from app.proxy.console_doors import ConsoleDoors, open_doors
from app.proxy.doors import FRESH_S, DoorsUnusable, Gate
from app.proxy.upstream import UpstreamError, parse_head
from backend.identity import Identity
from tests.unit.identity_kit import PASSWORD
from tests.unit.proxy_kit import ALICE, TableDoors, gateway
from tests.unit.sessions_kit import ADA, Desk, job


class Console:
    """Ada is signed in and has a ready session."""

    def __init__(self, folder: Path) -> None:
        self.desk = Desk(folder)
        self.identity = Identity(self.desk.settings, self.desk.db, self.desk.box)
        self.identity.add_person("console", "ada", PASSWORD)
        secret = self.identity.enrol_directly("ada")
        pending = self.identity.sign_in_password("ada", PASSWORD, "127.0.0.1", "")
        self.cookie = self.identity.sign_in_code(pending.cookie, pyotp.TOTP(secret).now()).cookie
        viewer = self.identity.viewer(self.cookie)
        assert viewer is not None
        self.viewer = replace(viewer, uid=ADA.uid)
        self.session_id = asyncio.run(self.desk.launch(self.viewer, gpus=1))
        self.desk.look(jobs=[job(self.session_id, 7)])
        self.desk.rows.change(self.session_id, lambda row: {"port": 40123, "state": "ready"})
        self.doors: ConsoleDoors = open_doors(self.desk.settings)

    def ticket(self) -> str:
        return self.desk.sessions.issue_ticket(self.viewer, self.session_id, "jupyterlab")


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    made = Console(tmp_path)
    yield made
    made.identity.close()


def test_a_grant_is_worth_nothing_once_the_login_has_ended(console: Console) -> None:
    entered = console.doors.redeem(console.ticket(), console.session_id)
    assert entered is not None
    grant = (entered.cookie, console.session_id)
    standing = console.doors.standing(*grant)
    assert standing is not None
    assert (standing.state, standing.port, standing.apps) == ("open", 40123, ("jupyterlab",))
    assert console.doors.open_among([grant]) == {grant}
    console.identity.sign_out(console.cookie)  # in another process than the doors'
    assert console.doors.open_among([grant]) == set()
    ended = console.doors.standing(*grant)
    assert ended is not None
    assert (ended.state, ended.port, ended.secret) == ("signed-out", 0, "")


def test_a_database_that_is_away_is_told_by_name(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise OperationalError("select", {}, Exception("away"))

    monkeypatch.setattr(console.doors._routes, "standing", away)
    with pytest.raises(DoorsUnusable):
        console.doors.standing("grant", console.session_id)


async def test_a_hundred_requests_of_one_page_ask_once_and_soon_again(tmp_path: Path) -> None:
    asked: list[str] = []

    class Counting(TableDoors):
        def standing(self, cookie: str, session_id: str) -> None:  # type: ignore[override]
            asked.append(cookie)
            time.sleep(0.01)

    gate = Gate(Counting())
    await asyncio.gather(*(gate.standing(["c"], ALICE) for _ in range(100)))
    assert asked == ["c"]
    await asyncio.sleep(FRESH_S + 0.05)
    await gate.standing(["c"], ALICE)
    assert asked == ["c", "c"]
    await gate.standing([f"tossed{number}" for number in range(50)], ALICE)
    assert len(asked) <= 6
    gate.close()


async def test_a_failed_look_is_not_remembered() -> None:
    class Failing(TableDoors):
        failing = True

        def standing(self, cookie: str, session_id: str) -> None:  # type: ignore[override]
            if self.failing:
                raise DoorsUnusable("away")

    doors = Failing()
    gate = Gate(doors)
    with pytest.raises(DoorsUnusable):
        await gate.standing(["c"], ALICE)
    doors.failing = False
    assert await gate.standing(["c"], ALICE) is None
    gate.close()


def test_a_standing_does_not_print_its_secret() -> None:
    found, standing = asyncio.run(gateway(ALICE, {"jupyterlab": "/nowhere"}, "s" * 40))
    assert "s" * 40 not in repr(standing)
    asyncio.run(found.close())


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/2 200 OK",
        b"ICY 200 OK",
        b"HTTP/1.1 OK",
        b"HTTP/1.1 200 OK\r\nA: b\r\n folded",
        b"HTTP/1.1 200 OK\r\nBad Name: x",
        b"HTTP/1.1 200 OK\r\nNul: a\0b",
        b"HTTP/1.1 200 OK\r\nBare: a\rb",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked",
    ],
)
def test_an_answer_that_two_readers_could_read_differently_is_no_answer(head: bytes) -> None:
    with pytest.raises(UpstreamError):
        parse_head(head)
