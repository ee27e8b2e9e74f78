"""Opening an app: the console gives a ticket to the session's owner, and to nobody else."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from backend.store import models
from tests.unit.gatehouse import House, Person, running

MINE = "0123456789abcdef0123456789abcdef"
OVER = "fedcba9876543210fedcba9876543210"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with running(tmp_path_factory.mktemp("house")) as house:
        with house.services.db.begin() as rows:
            for session_id, state in ((MINE, "ready"), (OVER, "ended")):
                rows.add(
                    models.Session(
                        id=session_id,
                        owner="ada",
                        uid=1000,
                        cluster="local",
                        request={},
                        state=state,
                        secret=b"",
                        tls_fingerprint="",
                        apps={"jupyterlab": "ready"},
                        created_s=int(time.time()),
                        not_after_s=int(time.time()) + 60,
                    )
                )
        yield house


@pytest.fixture(scope="module")
def ada(house: House) -> Person:
    return house.person("ada")


async def test_the_owner_gets_a_form_that_posts_a_ticket_to_the_sessions_own_origin(house: House, ada: Person) -> None:
    async with house.browser() as user:
        user.enter(ada)
        got = await user.post(f"/sessions/{MINE}/open/jupyterlab", {"csrf": await user.csrf()})
        assert got.status == 200
        origin = f"http://{MINE}.localhost:5007"
        assert f'action="{origin}/_carme/enter"' in got.text
        assert len(got.field("ticket")) > 40
        assert got.field("session") == MINE
        assert f"form-action 'self' {origin};" in got.headers["Content-Security-Policy"]
        assert got.headers["Referrer-Policy"] == "strict-origin"
        again = await user.post(f"/sessions/{MINE}/open/jupyterlab", {"csrf": await user.csrf()})
        assert again.field("ticket") != got.field("ticket")


async def test_others_get_what_they_would_for_a_session_that_is_not_there(house: House) -> None:
    house.person("eve", roles=("admin",))
    async with house.browser() as other:
        other.enter(Person("eve", "", str))
        csrf = {"csrf": await other.csrf()}
        answers = set()
        for session_id in (MINE, OVER, "0" * 32):
            got = await other.post(f"/sessions/{session_id}/open/jupyterlab", csrf)
            answers.add((got.status, re.sub(r"nonce=\"[^\"]*\"", "", got.text)))
        assert len(answers) == 1
        assert next(iter(answers))[0] == 404


@pytest.mark.parametrize("path", [f"{OVER}/open/jupyterlab", f"{MINE}/open/other", f"{MINE}/open/../x", "x/open/"])
async def test_what_is_over_or_not_there_is_not_opened(house: House, ada: Person, path: str) -> None:
    async with house.browser() as user:
        user.enter(ada)
        assert (await user.post(f"/sessions/{path}", {"csrf": await user.csrf()})).status == 404


async def test_a_link_from_elsewhere_waits_for_the_person(house: House, ada: Person) -> None:
    async with house.browser() as user:
        user.enter(ada)
        path = f"/sessions/{MINE}/open/jupyterlab"
        own = await user.get(path, {"Sec-Fetch-Site": "same-origin"})
        assert "submit()" in own.text and "ticket" not in own.text
        link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        assert "submit()" not in (await user.get(path, link)).text
