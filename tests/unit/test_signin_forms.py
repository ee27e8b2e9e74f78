"""Signing in through the forms: password, code, recovery code, first set-up, and the words of refusals."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pyotp
import pytest

from tests.unit.gatehouse import PASSWORD, House, Person, running

WRONG = "The name or the password is wrong, or the account is locked."


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with running(tmp_path_factory.mktemp("house")) as house:
        yield house


@pytest.fixture(scope="module")
def ada(house: House) -> Person:
    return house.person("ada")


def said(text: str) -> str:
    """What the form says, without its tags."""
    found = re.search(r'<p class="note bad"[^>]*>(.*?)</p>', text, re.S)
    return found[1].strip() if found else ""


async def test_password_and_code_lead_to_the_page_that_was_asked_for(house: House, ada: Person) -> None:
    async with house.browser() as user:
        asked = await user.get("/cluster?node=n1")
        assert asked.location == "/login?next=%2Fcluster%3Fnode%3Dn1"
        half = await user.give_password(ada, path="/cluster?node=n1")
        assert half.location == "/login/code?next=%2Fcluster%3Fnode%3Dn1"
        full = await user.give_code(ada.code(), path="/cluster?node=n1")
        assert (full.status, full.location) == (303, "/cluster?node=n1")
        assert set(user.cookies) == {"carme", "carme-browser"}
        assert (await user.get("/cluster")).status == 200
        assert (await user.get("/login?next=/cluster")).location == "/cluster"  # nothing more to do there


async def test_cookies_are_for_the_server_alone(house: House, ada: Person) -> None:
    async with house.browser() as user:
        half = await user.give_password(ada)
        [cookie] = half.headers.getall("Set-Cookie")
        assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Max-Age=600" in cookie
        full = await user.give_code(ada.code())
        login = next(each for each in full.headers.getall("Set-Cookie") if each.startswith("carme="))
        assert "HttpOnly" in login and "SameSite=Lax" in login and "Path=/" in login and "Domain" not in login


@pytest.mark.parametrize(
    "target", ["//evil.test", "https://evil.test", "/\\evil.test", "/logout", "javascript:x"]
)
async def test_signing_in_sends_nobody_elsewhere(house: House, ada: Person, target: str) -> None:
    async with house.browser() as user:
        form = await user.get("/login", params={"next": target})
        fields = {"csrf": form.field("csrf"), "next": target, "name": "ada", "password": PASSWORD}
        half = await user.post("/login", fields)
        assert half.location == "/login/code?next=%2F"
        form = await user.get("/login/code", params={"next": target})
        full = await user.post(
            "/login/code", {"csrf": form.field("csrf"), "next": target, "code": ada.code()}
        )
        assert full.location == "/"


async def test_wrong_name_wrong_password_and_locked_are_told_alike(house: House, ada: Person) -> None:
    house.person("lena")
    house.services.identity.lock_person("console", "lena")
    answers = []
    for name, password in (
        ("ada", "wrong"),
        ("nobody", "wrong"),
        ("lena", PASSWORD),
        ("", ""),
        ("x" * 300, "y"),
    ):
        async with house.browser() as user:
            got = await user.give_password(Person(name, "", str, password))
            answers.append((got.status, said(got.text), "carme" in user.cookies))
    assert set(answers) == {(422, WRONG, False)}


async def test_a_name_is_shown_again_as_text(house: House) -> None:
    async with house.browser() as user:
        got = await user.give_password(Person('"><script>alert(1)</script>', "", str, "wrong"))
        assert "<script>alert" not in got.text


async def test_wrong_reused_and_old_codes_are_told_alike(house: House) -> None:
    eva = house.person("eva")
    used = eva.code()
    async with house.browser() as user:
        await user.give_password(eva)
        assert (await user.give_code(used)).status == 303
    answers = set()
    for code in ("000000", used, pyotp.TOTP(eva.secret).at(0), "", "abc", "1" * 60):
        async with house.browser() as user:
            await user.give_password(eva)
            got = await user.give_code(code)
            answers.add((got.status, said(got.text), "carme" in user.cookies))
    assert len(answers) == 1
    assert next(iter(answers))[0] == 422


async def test_after_too_many_wrong_codes_it_starts_from_the_password(house: House) -> None:
    eli = house.person("eli")
    async with house.browser() as user:
        await user.give_password(eli)
        form = await user.get("/login/code")
        statuses = [
            (await user.post("/login/code", {"csrf": form.field("csrf"), "code": "000000"})).status
            for _ in range(5)
        ]
        assert statuses == [422, 422, 422, 422, 403]
        assert "carme-half" not in user.cookies
        assert (await user.get("/login/code")).location == "/login"


async def test_the_first_code_is_set_up_between_password_and_console(house: House) -> None:
    house.services.identity.add_person("console", "nina", PASSWORD)
    nina = Person("nina", "", str)
    async with house.browser() as user:
        assert (await user.give_password(nina)).location == "/login/enrol?next=%2F"
        page = await user.get("/login/enrol")
        assert "<svg" in page.text and "viewBox" in page.text
        secret = re.search(r'class="key mono">([A-Z2-7 ]+)<', page.text)
        assert secret
        assert (await user.get("/")).status == 302  # nothing yet
        wrong = await user.post("/login/enrol", {"csrf": page.field("csrf"), "code": "000000"})
        assert (wrong.status, said(wrong.text)) == (
            422,
            "That code is not valid. Wait for the next one and try again.",
        )
        code = pyotp.TOTP(secret[1].replace(" ", "")).now()
        done = await user.post(
            "/login/enrol", {"csrf": page.field("csrf"), "code": code, "next": "/cluster?a=1"}
        )
        codes = re.findall(r"<li>([a-z2-7-]{19})</li>", done.text)
        assert len(codes) == 10
        assert 'href="/cluster?a=1"' in done.text
        assert (await user.get("/")).status == 200
        assert codes[0] not in (await user.get("/account")).text  # shown once
    async with house.browser() as elsewhere:
        await elsewhere.give_password(nina)
        form = await elsewhere.get("/login/code?kind=recovery")
        fields = {"csrf": form.field("csrf"), "kind": "recovery", "code": codes[3].upper()}
        assert (await elsewhere.post("/login/code", fields)).status == 303
    async with house.browser() as again:
        await again.give_password(nina)
        form = await again.get("/login/code?kind=recovery")
        assert (await again.post("/login/code", fields | {"csrf": form.field("csrf")})).status == 422


async def test_an_enrolment_may_need_an_admins_code(tmp_path: Path) -> None:
    with running(tmp_path, login__enrolment_code=True) as house:
        identity = house.services.identity
        identity.add_person("console", "olga", PASSWORD)
        given = identity.enrolment_code("console", "olga")
        async with house.browser() as user:
            await user.give_password(Person("olga", "", str))
            page = await user.get("/login/enrol")
            assert "<svg" not in page.text
            wrong = await user.post("/login/enrol", {"csrf": page.field("csrf"), "enrolment_code": "no"})
            assert wrong.status == 422 and "<svg" not in wrong.text
            right = await user.post("/login/enrol", {"csrf": page.field("csrf"), "enrolment_code": given})
            assert right.status == 200 and "<svg" in right.text


async def test_a_throttled_person_is_told_when_to_try_again(tmp_path: Path) -> None:
    with running(tmp_path, login__throttle_after=2) as house:
        paul = house.person("paul")
        async with house.browser() as user:
            for _ in range(3):
                got = await user.give_password(paul, "wrong")
            while got.status != 429:
                got = await user.give_password(paul, "wrong")
            assert re.search(r"Try again in \d+ (seconds|minutes)", said(got.text))
            assert int(got.headers["Retry-After"]) >= 1


async def test_the_first_account_is_made_by_the_printed_link(tmp_path: Path) -> None:
    with running(tmp_path) as house:
        link = house.services.identity.setup_link()
        assert link is not None
        path = link.removeprefix(house.settings.web.public_url)
        async with house.browser() as user:
            assert (await user.get("/setup?token=wrong")).status == 404
            assert (await user.get("/setup")).status == 404
            page = await user.get(path)
            fields = {"csrf": page.field("csrf"), "token": page.field("token"), "name": "root1",
                      "password": PASSWORD, "repeat": PASSWORD + "x"}  # fmt: skip
            assert "not the same" in (await user.post("/setup", fields)).text
            done = await user.post("/setup", fields | {"repeat": PASSWORD})
            assert (done.status, done.location) == (303, "/login/enrol?next=%2F")
            assert "<svg" in (await user.get("/login/enrol")).text
        async with house.browser() as late:
            assert (await late.get(path)).status == 404


async def test_a_form_without_its_token_signs_nobody_in(house: House, ada: Person) -> None:
    async with house.browser() as user:
        fields = {"name": "ada", "password": PASSWORD}
        for token in ({}, {"csrf": ""}, {"csrf": "x.y.z"}):
            assert (await user.post("/login", fields | token)).status == 403
        form = await user.get("/login")
        good = fields | {"csrf": form.field("csrf")}
        for headers in (
            {"Origin": "http://evil.test"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Origin": "null", "Sec-Fetch-Site": "-"},
            {"Origin": "-", "Sec-Fetch-Site": "-"},
        ):
            assert (await user.post("/login", good, headers)).status == 403
        assert not user.cookies
        assert (await user.post("/login", good)).status == 303


async def test_a_form_loaded_before_another_tab_signed_in_still_works(house: House, ada: Person) -> None:
    async with house.browser() as user:
        form = await user.get("/login")
        user.enter(ada)
        fields = {"csrf": form.field("csrf"), "name": "ada", "password": PASSWORD}
        assert (await user.post("/login", fields)).status == 303


# The life of a login


async def test_the_state_of_a_login_is_told_and_input_renews_it(house: House, ada: Person) -> None:
    async with house.browser() as user:
        user.enter(ada)
        state = (await user.get("/api/session")).json()
        assert state["name"] == "ada"
        assert 3500 <= state["idle_s"] <= 3600 and 43000 <= state["absolute_s"] <= 43200
        assert (await user.post("/api/session/touch", {}, {"X-CSRF-Token": state["csrf"]})).status == 204
        assert (await user.post("/api/session/touch", {})).status == 403
    async with house.browser() as stranger:
        got = await stranger.get("/api/session")
        assert got.status == 401
        assert got.headers["Content-Type"].startswith("application/problem+json")


async def test_password_and_code_prove_the_login_again_without_closing_its_pages(house: House) -> None:
    rosa = house.person("rosa")
    async with house.browser() as user:
        await user.sign_in(rosa)
        page = await user.get("/")
        before = user.cookies["carme"]
        csrf = {"X-CSRF-Token": await user.csrf()}
        wrong = await user.ask(
            "POST", "/api/session/again", csrf, data=json.dumps({"password": "x", "code": "1"})
        )
        assert (wrong.status, wrong.json()["detail"]) == (422, WRONG)
        half = '{"password": "\\ud800"}'  # half a character, as only JSON can hold it
        for broken in ("", "[]", "{}", "x", half, "[" * 10_000):
            assert (await user.ask("POST", "/api/session/again", csrf, data=broken)).status == 400
        proof = json.dumps({"password": PASSWORD, "code": rosa.code()})
        assert (await user.ask("POST", "/api/session/again", csrf, data=proof)).status == 204
        assert user.cookies["carme"] != before
        assert await user.refused("/ws", page.token) == 101  # the page goes on
        user.cookies["carme"] = before
        assert (await user.get("/")).status == 302  # the old cookie is nothing any more


async def test_signing_out_ends_this_login_and_no_other(house: House, ada: Person) -> None:
    async with house.browser() as one, house.browser() as other:
        one.enter(ada)
        other.enter(ada)
        kept = dict(one.cookies)
        assert "Sign out?" in (await one.get("/logout")).text
        assert (await one.post("/logout", {"csrf": await one.csrf()})).status == 200
        assert "carme" not in one.cookies
        one.cookies = kept
        assert (await one.get("/")).status == 302
        assert (await other.get("/")).status == 200
