"""The route table: nothing the server answers is missing from it, and each entry's guard holds."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from tornado.routing import PathMatches

from app.gate.guards import SAFE, Guard, Kind, Route
from app.routes import UnknownPageAction, build_table, own_routes
from backend.identity.policy import TABLE
from pages import PAGES, Page
from tests.unit.gatehouse import Answer, Browser, House, Person, running

SIGNED_IN = (Guard.USER, Guard.ACTION)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with running(tmp_path_factory.mktemp("house"), tuple(PAGES)) as house:
        yield house


@pytest.fixture(scope="module")
def bob(house: House) -> Person:
    return house.person("bob")


def example(route: Route) -> str:
    """A path that matches; a session's or job's place is taken by one that doesn't exist."""
    path = re.sub(r"\(\?!.*?\)", "", route.regex.pattern.rstrip("$"))
    path = path.replace("/(?:([0-9a-f]{12})/)?", "/").replace("/?", "" if len(path) > 2 else "/")
    path = re.sub(r"\((?:\[[^\]]*\](?:\{[^}]*\}|[*+])?|\.\*|\[a-z\]\[a-z0-9-\]\{0,31\})\)", "a1", path)
    path = re.sub(r"\(([a-z]+)(?:\|[a-z]+)+\)", r"\1", path).replace("\\", "")  # one of several words: the first
    assert route.regex.fullmatch(path), (route.pattern, path)
    return path


def test_every_rule_of_the_server_is_in_the_table(house: House) -> None:
    known = {route.regex.pattern for route in house.server.routes}
    for rule in house.server.tornado.rules():
        assert isinstance(rule.matcher, PathMatches), f"{rule} is no rule by path"
        assert rule.matcher.regex.pattern in known, (
            f"{rule.matcher.regex.pattern} is missing in app/routes.py"
        )


def test_every_entry_of_the_table_is_a_rule_of_the_server(house: House) -> None:
    rules = {rule.matcher.regex.pattern for rule in house.server.tornado.rules()}  # type: ignore[attr-defined]
    assert {route.regex.pattern for route in house.server.routes} <= rules


def test_a_rule_that_is_missing_in_the_table_is_not_found(house: House) -> None:
    from tornado.web import RequestHandler

    class Forgotten(RequestHandler):
        def get(self) -> None:
            self.finish("secret")

    house.server.tornado.wildcard_router.add_rules([(r"/forgotten", Forgotten)])
    try:
        assert ask(house, "/forgotten").status == 404
    finally:
        house.server.tornado.wildcard_router.rules.pop()


def ask(house: House, path: str, method: str = "GET") -> Answer:
    import asyncio

    async def once() -> Answer:
        async with house.browser() as anyone:
            return await anyone.ask(method, path)

    return asyncio.run(once())


def test_no_two_entries_share_a_pattern(house: House) -> None:
    patterns = [route.pattern for route in house.server.routes]
    assert len(patterns) == len(set(patterns))


def test_only_what_is_meant_to_be_open_is_open() -> None:
    table = build_table(PAGES)
    assert {
        route.pattern for route in table if route.guard is Guard.OPEN and route.kind is not Kind.ASSET
    } == {
        "/healthz",
        "/readyz",
    }
    assert {route.pattern for route in table if route.guard is Guard.ENTRY} == {
        "/login",
        "/login/password",
        "/setup",
    }
    assert {route.pattern for route in table if route.guard is Guard.HALF} == {"/login/code", "/login/enrol"}
    assert {route.pattern for route in table if route.guard is Guard.AGENT} == {
        "/api/v1/agent/register",
        "/api/v1/agent/samples",
    }
    assert {route.pattern for route in table if route.guard is Guard.EMBED} == {
        "/embed.js",
        "/embed/([A-Za-z0-9_.-]{1,100})",
        "/embed/([A-Za-z0-9_.-]{1,100})/figures",
    }
    assert all("static" in r.pattern or "favicon" in r.pattern or "assets" in r.pattern
               for r in table if r.guard is Guard.OPEN and r.kind is Kind.ASSET)  # fmt: skip


def test_a_page_the_policy_does_not_know_is_refused_at_start() -> None:
    with pytest.raises(UnknownPageAction):
        build_table([Page("/unheard-of", "?", "?", frozenset({"user"}), lambda services, viewer: None)])


async def half_of(house: House, person: Person) -> Browser:
    half = house.browser()
    await half.__aenter__()
    await half.give_password(person)
    half.cookies["carme"] = half.cookies["carme-half"]
    return half


async def test_each_guard_holds_for_nobody_and_for_half_a_login(house: House, bob: Person) -> None:
    half = await half_of(house, bob)
    async with house.browser() as nobody:
        for route in house.server.routes:
            path = example(route)
            for method in sorted(route.methods):
                for who in (nobody, half):
                    got = await who.ask(method, path, keep=False)
                    problem = f"{method} {path} ({route.guard.name}) answered {got.status} {got.location}"
                    if route.guard in SIGNED_IN:
                        assert got.status in (302, 303, 401, 403), problem
                        assert not got.location or got.location.startswith("/login"), problem
                        assert "bob" not in got.text, problem
                    elif route.guard is Guard.CLOSED or (route.guard is Guard.EMBED and "/a1" in path):
                        assert got.status == 404, problem
                    elif route.guard is Guard.AGENT:
                        assert got.status in (400, 403, 415), problem
                    elif route.guard is Guard.HALF and who is nobody:
                        assert (got.status, got.location) in ((302, "/login"), (303, "/login")), problem
                    assert got.status < 500 or path == "/readyz", problem
    await half.__aexit__()


async def test_each_guard_lets_one_in_who_is_signed_in(house: House, bob: Person) -> None:
    async with house.browser() as user:
        user.enter(bob)
        for route in house.server.routes:
            if route.guard not in SIGNED_IN or route.kind is Kind.SOCKET:
                continue
            if route.action and "user" not in TABLE[route.action].roles:
                continue
            path = example(route)
            for method in sorted(route.methods & SAFE):
                got = await user.ask(method, path, {"Sec-Fetch-Site": "same-origin"}, keep=False)
                assert got.status not in (401, 403), f"{method} {path} answered {got.status}"
                assert not got.location.startswith("/login"), path


async def test_every_change_is_refused_without_its_token_and_from_elsewhere(
    house: House, bob: Person
) -> None:
    async with house.browser() as user:
        user.enter(bob)
        for route in house.server.routes:
            if route.guard is Guard.AGENT:
                continue
            path = example(route)
            for method in sorted(route.methods - SAFE):
                for headers in (
                    {},
                    {"X-CSRF-Token": "wrong"},
                    {"X-CSRF-Token": await user.csrf(), "Origin": "http://evil.test", "Sec-Fetch-Site": "-"},
                    {"X-CSRF-Token": await user.csrf(), "Sec-Fetch-Site": "same-site"},
                    {"X-CSRF-Token": await user.csrf(), "Sec-Fetch-Site": "-", "Origin": "-"},
                    {"X-CSRF-Token": await user.csrf(), "Sec-Fetch-Site": "-", "Origin": "null"},
                ):
                    got = await user.ask(method, path, headers, keep=False)
                    assert got.status == 403, f"{method} {path} with {headers} answered {got.status}"
        assert (await user.get("/api/session")).status == 200  # nothing of it signed out


async def test_a_method_that_is_not_in_the_table_is_refused(house: House, bob: Person) -> None:
    async with house.browser() as user:
        user.enter(bob)
        for path, method in (("/", "POST"), ("/", "OPTIONS"), ("/account", "DELETE"), ("/login", "PUT")):
            assert (await user.ask(method, path)).status == 405
        assert (await user.ask("PROPFIND", "/")).status == 405


def test_own_routes_have_handlers() -> None:
    assert all(route.handler is not None for route in own_routes())
