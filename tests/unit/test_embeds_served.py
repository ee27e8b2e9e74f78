"""What an embed's address answers: to whoever has the token, in frames of its sites, and nothing but its figure."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from backend.accounting.reports.question import read_saved
from backend.accounting.usage import Price, PriceList
from tests.unit.gatehouse import Answer, Browser, House
from tests.unit.usage_kit import Declared, at
from tests.unit.usage_rest_kit import UIDS, fill

SITE, OTHER = "https://wiki.example.org", "https://evil.example"
NOVEMBER = read_saved(
    {"metrics": ["cpu_hours"], "by": ["user"], "since": "2026-11-01", "until": "2026-12-01", "order": "-cpu_hours"},
    "UTC",
)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("embeds"))
    fill(made.settings.instance.data_dir)
    identity = made.services.identity
    identity.coordinates_by(lambda name: frozenset({"physics"}) if name == "ada" else frozenset())
    for name, roles in (("ada", ()), ("bob", ()), ("olga", ("operator",))):
        identity.add_person("console", name, "correct horse battery staple", roles=roles, uid=UIDS.get(name, 2001))
    made.start()
    yield made
    made.stop()


def make(house: House, name: str = "ada", **given: Any) -> tuple[str, str]:
    """The embed's id and its token."""
    viewer = house.services.identity.standing(name)
    assert viewer is not None
    wanted: dict[str, Any] = {
        "title": "Who uses <b>physics</b>", "question": NOVEMBER, "chart": "table", "origins": [SITE], "live": True,
    }  # fmt: skip
    info = house.services.embeds.make(viewer, **wanted | given)
    assert info.token is not None
    return info.id, info.token


async def stranger(house: House, path: str, headers: dict[str, str] | None = None) -> Answer:
    """As a frame in another site's page asks: without a cookie."""
    framed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
    async with house.browser() as anyone:
        return await anyone.get(path, framed | (headers or {}))


async def figures(house: House, token: str) -> dict[str, str]:
    answer = await stranger(house, f"/embed/{token}/figures")
    assert answer.status == 200, answer.text
    return {row[0]: row[1] for row in answer.json()["table"]["rows"]}


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("bob", {"bob": "14.00"}),
        ("ada", {"leo": "10.00", "ada": "6.00", "eve": "6.00"}),
        ("olga", {"bob": "14.00", "leo": "10.00", "ada": "6.00", "eve": "6.00"}),
    ],
)
@pytest.mark.parametrize("live", [True, False])
async def test_who_has_the_token_sees_what_its_maker_might(
    house: House, name: str, seen: dict[str, str], live: bool
) -> None:
    _, token = make(house, name, live=live)
    assert await figures(house, token) == seen


async def test_a_signed_in_viewer_sees_no_more_by_it(house: House) -> None:
    _, token = make(house, "bob")
    with house.services.db.begin() as rows:
        login = house.services.identity.begin_full(
            rows, "olga", roles=["operator"], address="127.0.0.1", user_agent="", browser=""
        )
    async with house.browser() as olga:
        olga.cookies["carme"] = login.cookie
        answer = await olga.get(f"/embed/{token}/figures")
        assert [row[0] for row in answer.json()["table"]["rows"]] == ["bob"]


@pytest.mark.parametrize(
    "query",
    ["?by=account", "?where=user%3Dbob", "?since=2000", "?metric=gpu_hours", "?user=bob", "?theme=light&theme=dark",
     "?theme=blue", "?width=1", "?scope=all", "?%00=1", "?theme", "?utm_source=x", "?bokeh-session-id=x"],
)  # fmt: skip
async def test_its_address_widens_nothing(house: House, query: str) -> None:
    _, token = make(house)
    for path in (f"/embed/{token}", f"/embed/{token}/figures"):
        answer = await stranger(house, path + query)
        assert answer.status == 400, (path, query)
        assert "bob" not in answer.text


async def test_its_page_may_be_framed_by_its_sites_alone(house: House) -> None:
    _, token = make(house, origins=[SITE, "http://localhost:8080"])
    answer = await stranger(house, f"/embed/{token}")
    policy = answer.headers["Content-Security-Policy"]
    assert f"frame-ancestors {SITE} http://localhost:8080" in policy
    assert "'unsafe-inline'" not in policy
    assert "unsafe-eval" not in policy
    assert "default-src 'none'" in policy
    assert "X-Frame-Options" not in answer.headers
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "Set-Cookie" not in answer.headers
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    # A title is text; figures are not in the page.
    assert "<b>physics</b>" not in answer.text
    assert "&lt;b&gt;physics" in answer.text
    assert "10.00" not in answer.text
    assert "<script>" not in answer.text
    assert "style=" not in answer.text


async def test_only_a_chart_s_page_takes_styles(house: House) -> None:
    _, token = make(house, chart="rank")
    answer = await stranger(house, f"/embed/{token}")
    assert "style-src 'self' 'unsafe-inline'" in answer.headers["Content-Security-Policy"]
    assert "script-src 'self';" in answer.headers["Content-Security-Policy"]
    assert '<script src="/static/js/bokeh.min.js" defer></script>' in answer.text
    assert (await stranger(house, "/static/js/bokeh.min.js")).status == 200


async def test_its_figures_may_be_read_by_scripts_of_its_sites_alone(house: House) -> None:
    _, token = make(house)
    path = f"/embed/{token}/figures"
    theirs = await stranger(house, path, {"Origin": SITE})
    assert theirs.headers["Access-Control-Allow-Origin"] == SITE
    assert "Access-Control-Allow-Credentials" not in theirs.headers
    assert "Origin" in theirs.headers["Vary"]
    for origin in (OTHER, "null", f"{SITE}.evil.example", "https://wiki.example.org:8443", "-"):
        other = await stranger(house, path, {"Origin": origin})
        assert "Access-Control-Allow-Origin" not in other.headers, origin


async def test_no_other_door_is_opened_to_other_sites(house: House) -> None:
    async with house.browser() as anyone:
        for path in ("/login", "/healthz", "/api/v1/usage", "/assets/entry.css", "/embed.jsx"):
            answer = await anyone.get(path, {"Origin": SITE, "Sec-Fetch-Site": "cross-site"})
            assert "Access-Control-Allow-Origin" not in answer.headers
            assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
            assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


async def test_what_is_over_says_so_where_it_was_shown_and_no_figure(house: House) -> None:
    embed_id, token = make(house, "ada", live=False)
    assert (await stranger(house, f"/embed/{token}")).status == 200
    viewer = house.services.identity.standing("olga")
    assert viewer is not None
    house.services.embeds.revoke(viewer, embed_id)
    page = await stranger(house, f"/embed/{token}")
    assert page.status == 410
    assert "no longer available" in page.text
    assert "physics" not in page.text
    assert f"frame-ancestors {SITE};" in page.headers["Content-Security-Policy"] + ";"
    assert page.headers["Cache-Control"] == "no-store"
    gone = await stranger(house, f"/embed/{token}/figures", {"Origin": SITE})
    assert (gone.status, gone.json()["title"]) == (410, "This figure is no longer available.")


async def test_no_token_of_ours_is_not_found_and_framed_by_nobody(house: House) -> None:
    _, token = make(house)
    for wrong in ("a1", token[:-1], token[:16] + ".." + token[17:], "0" * 16 + token[16:], token + "x"):
        for path in (f"/embed/{wrong}", f"/embed/{wrong}/figures"):
            answer = await stranger(house, path)
            assert answer.status == 404, path
            assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    for path in (f"/embed/{token}/", f"/embed/{token}/figures/x", f"/embed/{token}/autoload.js", "/embed/", "/embed"):
        assert (await stranger(house, path)).status == 404


async def test_it_only_reads(house: House) -> None:
    _, token = make(house)
    async with house.browser() as anyone:
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            assert (await anyone.ask(method, f"/embed/{token}/figures")).status == 405


async def test_the_same_figures_are_not_sent_again(house: House) -> None:
    _, token = make(house)
    path = f"/embed/{token}/figures"
    first = await stranger(house, path)
    assert first.headers["Cache-Control"] == "private, no-cache"
    again = await stranger(house, path, {"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.text) == (304, "")
    page = await stranger(house, f"/embed/{token}")
    assert (await stranger(house, f"/embed/{token}", {"If-None-Match": page.headers["ETag"]})).status == 304


async def test_a_hundred_viewers_cost_one_computation(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    _, token = make(house, chart="rank")
    desk = house.server.tornado.settings["embed_desk"]
    made = desk.figures.made

    async def view(browser: Browser, theme: str) -> int:
        return (await browser.get(f"/embed/{token}/figures?theme={theme}")).status

    async with house.browser() as browser:
        answers = await asyncio.gather(*(view(browser, theme) for theme in ("light", "dark") * 50))
    assert set(answers) == {200}
    assert desk.figures.made == made + 1


async def test_a_chart_comes_with_its_table(house: House) -> None:
    by_day = read_saved({**NOVEMBER, "by": ["day", "user"], "order": ""}, "UTC")
    _, token = make(house, question=by_day, chart="")
    answer = (await stranger(house, f"/embed/{token}/figures?theme=dark&width=360")).json()
    assert answer["chart"]["kind"] == "time"
    assert answer["chart"]["item"]["doc"]["roots"]
    assert len(answer["table"]["rows"]) == 4
    assert answer["window"] == "1 Nov 2026 – 30 Nov 2026 (UTC)"
    assert answer["methods"][0]["note"]


async def test_nothing_to_draw_is_said(house: House) -> None:
    empty = read_saved({**NOVEMBER, "since": "2001-01-01", "until": "2001-02-01"}, "UTC")
    _, token = make(house, question=empty, chart="rank")
    answer = (await stranger(house, f"/embed/{token}/figures")).json()
    assert answer["chart"] is None
    assert answer["table"]["rows"] == []
    assert answer["notes"]


async def test_no_token_is_in_the_log(house: House, caplog: pytest.LogCaptureFixture) -> None:
    embed_id, token = make(house)
    secret = token.partition(".")[2]
    with caplog.at_level(logging.DEBUG):
        for path in (f"/embed/{token}", f"/embed/{token}/figures?x=1", f"/embed/{token}/nothing", f"/embed/{secret}"):
            await stranger(house, path)
    said = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("carme"))
    assert f"/embed/{embed_id}-" in said
    assert secret not in said
    assert secret[:20] not in said


async def test_the_script_is_for_every_site(house: House) -> None:
    answer = await stranger(house, "/embed.js")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/javascript")
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert "public" in answer.headers["Cache-Control"]
    assert "data-carme-embed" in answer.text


async def test_new_accounts_are_shown_by_a_live_one_at_once_and_never_by_a_snapshot(house: House) -> None:
    from backend.accounting.warehouse import Warehouse

    _, live = make(house, "bob")
    _, still = make(house, "bob", live=False)
    assert await figures(house, live) == {"bob": "14.00"}
    with Warehouse.write(house.settings.instance.data_dir / "accounting", zone="UTC") as writer:
        writer.set_state("tiny", synced_s=at("2026-11-06"))
        writer.commit()
    await asyncio.sleep(1.1)  # so long a look at the token is kept
    shown = json.loads((await stranger(house, f"/embed/{live}/figures")).text)
    assert shown["as_of"] == "6 Nov 2026 00:00"
    assert json.loads((await stranger(house, f"/embed/{still}/figures")).text)["as_of"] == "5 Nov 2026 00:00"


async def test_what_usage_costs_follows_the_price_list(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    class Listed:
        version, amount = 1, Decimal(1)

        def current(self) -> PriceList:
            return PriceList((Price("cpu", self.amount, 0),), "EUR", self.version)

    listed = Listed()
    monkeypatch.setattr(house.services.usage, "prices", listed)
    _, token = make(house, "bob", question=NOVEMBER | {"metrics": ["cost"], "order": "-cost"})
    first = await figures(house, token)
    listed.version, listed.amount = 2, Decimal(2)
    second = await figures(house, token)
    assert float(second["bob"].split()[0]) == 2 * float(first["bob"].split()[0]) > 0


async def test_by_project_its_maker_s_rows_alone_are_shown_and_the_list_is_todays(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = Declared(P=["physics", "biology"])
    monkeypatch.setattr(house.services.usage, "projects", declared)
    _, token = make(house, "ada", question=NOVEMBER | {"by": ["project"], "order": ""})
    assert await figures(house, token) == {"P": "22.00"}  # not the 14 h of biology
    declared.declare(Q=["lasers"])
    assert await figures(house, token) == {"Q": "10.00", "no project": "12.00"}


async def test_figures_are_computed_in_threads_of_their_own(house: House) -> None:
    """A long question holds up no look at a token or a login."""
    desk = house.server.tornado.settings["embed_desk"]
    assert desk._asking is house.server.asking.executor
    assert desk._asking is not desk._executor
    assert house.server.gate._executor is not desk._asking
