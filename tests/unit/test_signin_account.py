"""One's own account page: logins, password, second factor, recovery codes."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Iterator

import pyotp
import pytest

from app.account.overview import device
from tests.unit.gatehouse import PASSWORD, House, Person, running


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with running(tmp_path_factory.mktemp("house"), login__fresh_s=600) as house:
        yield house


@pytest.fixture(scope="module")
def ada(house: House) -> Person:
    return house.person("ada")


async def test_ones_logins_are_listed_and_another_can_be_ended(house: House, ada: Person) -> None:
    async with house.browser() as here, house.browser() as there:
        here.enter(ada)
        there.enter(ada)
        socket = await there.socket("/ws", (await there.get("/")).token)
        await socket.receive()
        page = await here.get("/account")
        ids = re.findall(r'name="login" value="([0-9a-f]+)"', page.text)
        mine = house.services.identity.viewer(here.cookies["carme"])
        theirs = house.services.identity.viewer(there.cookies["carme"])
        assert mine is not None and theirs is not None
        assert theirs.login_id in ids and mine.login_id not in ids
        done = await here.post("/account/logins/end", {"csrf": page.field("csrf"), "login": theirs.login_id})
        assert done.location == "/account?said=login"
        start = time.monotonic()
        while not socket.closed and time.monotonic() - start < 2:
            await socket.receive(timeout=2)
        assert time.monotonic() - start < 1
        assert (await there.get("/")).status == 302
        assert "That login has ended." in (await here.get("/account?said=login")).text


async def test_anothers_login_cannot_be_ended(house: House, ada: Person) -> None:
    bob = house.person("bob")
    async with house.browser() as mine, house.browser() as theirs:
        mine.enter(ada)
        theirs.enter(bob)
        viewer = house.services.identity.viewer(theirs.cookies["carme"])
        assert viewer is not None
        csrf = await mine.csrf()
        await mine.post("/account/logins/end", {"csrf": csrf, "login": viewer.login_id})
        assert (await theirs.get("/")).status == 200
        assert "bob" not in (await mine.get("/account")).text


async def test_the_password_is_changed_by_one_who_knows_it(house: House) -> None:
    carl = house.person("carl")
    async with house.browser() as user, house.browser() as elsewhere:
        user.enter(carl)
        elsewhere.enter(carl)
        fields = {"csrf": await user.csrf(), "old": PASSWORD, "new": "another good passphrase"}
        unequal = await user.post("/account/password", fields | {"repeat": "else"})
        assert unequal.status == 422 and "not the same" in unequal.text
        wrong = await user.post("/account/password", fields | {"old": "no", "repeat": fields["new"]})
        assert wrong.status == 422
        done = await user.post("/account/password", fields | {"repeat": fields["new"]})
        assert done.location == "/account?said=password"
        assert (await user.get("/account")).status == 200
        assert (await elsewhere.get("/account")).status == 302
    async with house.browser() as again:
        assert (await again.give_password(carl, fields["new"])).status == 303


async def test_a_new_authenticator_takes_the_place_of_the_old_one(house: House) -> None:
    dora = house.person("dora")
    async with house.browser() as user:
        user.enter(dora)
        page = await user.get("/account/factor")
        secret = re.search(r'class="key mono">([A-Z2-7 ]+)<', page.text)
        assert secret and secret[1].replace(" ", "") != dora.secret
        old = {"csrf": page.field("csrf"), "code": dora.code()}
        assert (await user.post("/account/factor", old)).status == 422
        new = old | {"code": pyotp.TOTP(secret[1].replace(" ", "")).now()}
        done = await user.post("/account/factor", new)
        assert len(re.findall(r"<li>([a-z2-7-]{19})</li>", done.text)) == 10
    async with house.browser() as again:
        await again.give_password(dora)
        assert (await again.give_code(pyotp.TOTP(dora.secret).now())).status == 422


async def test_what_guards_the_factor_asks_for_a_fresh_sign_in(house: House) -> None:
    emil = house.person("emil")
    async with house.browser() as user:
        await user.sign_in(emil)
        house.services.identity.clock = lambda: time.time() + 3 * 600  # later: the sign-in is long ago
        try:
            csrf = {"csrf": await user.csrf()}
            assert (await user.get("/account/factor")).location == "/account/again?next=/account/factor"
            assert (await user.post("/account/recovery", csrf)).location == "/account/again?next=/account"
        finally:
            house.services.identity.clock = time.time
        form = await user.get("/account/again?next=/account/factor")
        wrong = {"csrf": form.field("csrf"), "next": "/account/factor", "password": "no", "code": emil.code()}
        assert (await user.post("/account/again", wrong)).status == 422
        right = wrong | {"password": PASSWORD, "code": emil.code()}
        assert (await user.post("/account/again", right)).location == "/account/factor"
        assert (await user.get("/account/factor")).status == 200


async def test_new_recovery_codes_are_shown_once(house: House) -> None:
    fred = house.person("fred")
    async with house.browser() as user:
        user.enter(fred)
        csrf = {"csrf": await user.csrf()}
        codes = re.findall(r"<li>([a-z2-7-]{19})</li>", (await user.post("/account/recovery", csrf)).text)
        assert len(set(codes)) == 10
        page = (await user.get("/account")).text
        assert "10 of 10 recovery codes" in page and codes[0] not in page


async def test_what_a_browser_says_of_itself_is_shown_as_text(house: House, ada: Person) -> None:
    async with house.browser() as user:
        hostile = {"User-Agent": "<img src=x onerror=alert(1)>"}
        form = await user.get("/login", hostile)
        fields = {"csrf": form.field("csrf"), "name": "ada", "password": PASSWORD}
        await user.post("/login", fields, hostile)
        code = await user.get("/login/code", hostile)
        await user.post("/login/code", {"csrf": code.field("csrf"), "code": ada.code()}, hostile)
        page = (await user.get("/account")).text
        assert "<img src=x" not in page and html.escape("<img src=x onerror=alert(1)>") in page


@pytest.mark.parametrize(
    ("user_agent", "shown"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64) Chrome/156.0.0.0 Safari/537.36", "Chrome or Chromium on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Safari/604.1", "Safari on iPhone"),
        ("Mozilla/5.0 (Windows NT 10.0) Chrome/156.0 Safari/537.36 Edg/156.0", "Edge on Windows"),
        ("curl/8.1", "curl"),
        ("", "Unknown browser"),
        ("my\x1b[2Jscript\n", "my[2Jscript"),
    ],
)
def test_a_browser_is_named_as_people_know_it(user_agent: str, shown: str) -> None:
    assert device(user_agent) == shown
