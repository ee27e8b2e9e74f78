"""Files over HTTP: whole, typed, named, and of nobody's rows but those one may see."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Iterator

import pyarrow.parquet as pq
import pytest

from app import downloads
from backend.accounting.exports import FORMATS, unguard
from backend.accounting.reports import Draft
from backend.store.models import Audit
from tests.unit.gatehouse import Answer, Browser, House, Person
from tests.unit.usage_rest_kit import HOSTILE, fill

MONTH = "window=&since=2026-11-01&until=2026-12-01"
USAGE = f"/downloads/usage.csv?metric=cpu_hours&by=user&chart=rank&{MONTH}"
JOBS = f"/downloads/jobs.csv?metric=cpu_hours&{MONTH}"
WHOLE = "/downloads/accounting.csv?since=2026-11-01&until=2026-12-01"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("downloads"), instance__time_zone="UTC")
    fill(made.settings.instance.data_dir)
    made.services.identity.coordinates_by(
        lambda name: frozenset({"physics", "lasers"}) if name == "ada" else frozenset()
    )
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def people(house: House) -> dict[str, Person]:
    roles = {"ada": (), "bob": (), "olga": ("operator",), "root": ("admin",)}
    return {name: house.person(name, given) for name, given in roles.items()}


@pytest.fixture
async def browser(house: House) -> AsyncIterator[Browser]:
    async with house.browser() as opened:
        yield opened


async def fetch(browser: Browser, person: Person, path: str) -> Answer:
    browser.cookies.clear()
    browser.enter(person)
    return await browser.get(path)


def table(answer: Answer) -> list[dict[str, str]]:
    assert answer.status == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


def hours(answer: Answer) -> dict[str, float]:
    return {row["user"]: float(row["cpu_hours"]) for row in table(answer)}


async def test_each_sees_their_own_scope(browser: Browser, people: dict[str, Person]) -> None:
    seen = {name: hours(await fetch(browser, person, f"{USAGE}&who=all")) for name, person in people.items()}
    everybody = {"ada": 6.0, "eve": 6.0, "leo": 10.0, "bob": 14.0}
    assert seen["bob"] == {"bob": 14.0}
    assert seen["ada"] == {"ada": 6.0, "eve": 6.0, "leo": 10.0}
    assert seen["olga"] == seen["root"] == everybody


async def test_the_jobs_behind_a_mark_sum_to_it(browser: Browser, people: dict[str, Person]) -> None:
    found = table(await fetch(browser, people["olga"], f'{JOBS}&cell={{"user":"ada"}}'.replace('"', "%22")))
    assert sum(float(row["cpu_hours"]) for row in found) == 6.0
    assert {unguard(row["job_name"]) for row in found} == {HOSTILE}


async def test_a_stranger_is_sent_to_sign_in(browser: Browser) -> None:
    answer = await browser.get(WHOLE)
    assert (answer.status, answer.location.startswith("/login?next=")) == (302, True)


@pytest.mark.parametrize("name", ["ada", "bob"])
async def test_the_whole_accounting_is_for_operators(browser: Browser, people: dict[str, Person], name: str) -> None:
    assert (await fetch(browser, people[name], WHOLE)).status == 403


async def test_the_whole_accounting_is_a_row_a_job_and_leaves_a_line(
    browser: Browser, house: House, people: dict[str, Person]
) -> None:
    found = table(await fetch(browser, people["olga"], WHOLE))
    assert [row["job_id"] for row in found] == ["1", "2", "3", "4", "5"]
    assert sum(float(row["cpu_hours"]) for row in found) == 36.0
    months = table(await fetch(browser, people["root"], f"{WHOLE}&rows=months"))
    assert {row["account"]: float(row["cpu_hours"]) for row in months} == {
        "physics": 12.0,
        "lasers": 10.0,
        "biology": 14.0,
    }
    with house.services.db.read() as rows:
        lines = [(line.actor, line.target) for line in rows.query(Audit).filter(Audit.action == "accounting.export")]
    assert lines == [("olga", "jobs"), ("root", "months")]


async def test_the_file_is_an_attachment_with_a_plain_name(browser: Browser, people: dict[str, Person]) -> None:
    answer = await fetch(browser, people["bob"], USAGE)
    assert answer.headers["Content-Disposition"] == 'attachment; filename="Usage-2026-11-01-to-2026-11-30.csv"'
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    assert int(answer.headers["Content-Length"]) == len(answer.text.encode())


@pytest.mark.parametrize("kind", FORMATS)
async def test_every_format_is_sent_as_what_it_is(browser: Browser, people: dict[str, Person], kind: str) -> None:
    browser.cookies.clear()
    browser.enter(people["olga"])
    for path in (USAGE, JOBS, WHOLE):
        address = path.replace(".csv", f".{kind}")
        async with browser.http.get(browser.house.at + address, headers=browser.headers("GET", None)) as answer:
            raw = await answer.read()
            assert (answer.status, answer.headers["Content-Type"]) == (200, FORMATS[kind].media_type)
        if kind == "parquet":
            assert pq.read_table(io.BytesIO(raw)).num_rows in (4, 5)
        elif kind == "json":
            assert len(json.loads(raw)["rows"]) in (4, 5)
        elif kind != "csv":
            assert raw.startswith(b"%PDF-" if kind == "pdf" else b"PK")


async def test_a_saved_report_is_a_file_for_those_it_is_shown_to(
    browser: Browser, house: House, people: dict[str, Person]
) -> None:
    olga = house.services.identity.standing("olga")
    assert olga is not None
    question = {"metrics": ["cpu_hours"], "by": ["user"], "since": "2026-11-01", "until": "2026-12-01"}
    private = house.services.reports.save(olga, Draft("Mine: ../../=cmd", question))
    shared = house.services.reports.save(olga, Draft("Everyone's", question, visibility="everyone"))
    path = "/downloads/report.csv?id="
    assert (await fetch(browser, people["bob"], path + private.id)).status == 404
    assert (await fetch(browser, people["root"], path + private.id)).status == 404
    assert hours(await fetch(browser, people["bob"], path + shared.id)) == {"bob": 14.0}
    answer = await fetch(browser, people["olga"], path + private.id)
    assert answer.headers["Content-Disposition"] == 'attachment; filename="Mine-cmd-2026-11-01-to-2026-11-30.csv"'
    assert len(hours(answer)) == 4


@pytest.mark.parametrize(
    "path",
    [
        f"/downloads/usage.csv?metric=nonsense&{MONTH}", f"/downloads/usage.csv?metric=cpu_hours&tz=Nowhere&{MONTH}",
        "/downloads/accounting.csv", "/downloads/accounting.csv?since=2026-11-01&until=2026-10-01",
        "/downloads/accounting.csv?since=2026-11-01&until=2026-12-01&tz=../../etc/passwd",
        f"{JOBS}&cell=nonsense", f"{USAGE}&also=nonsense",
    ],
)  # fmt: skip
async def test_what_makes_no_sense_is_told(browser: Browser, people: dict[str, Person], path: str) -> None:
    assert (await fetch(browser, people["root"], path)).status == 400


async def test_an_unknown_format_or_method_is_nothing(browser: Browser, people: dict[str, Person]) -> None:
    assert (await fetch(browser, people["root"], USAGE.replace(".csv", ".exe"))).status == 404
    csrf = await browser.csrf()
    assert (await browser.post(USAGE, {"csrf": csrf})).status == 405


async def test_further_figures_stand_in_columns_of_their_own(browser: Browser, people: dict[str, Person]) -> None:
    found = table(await fetch(browser, people["bob"], f"{USAGE}&also=jobs&also=wait_hours"))
    assert [(row["jobs"], row["wait_hours"]) for row in found] == [("1", "0.16666666666666666")]


async def test_too_many_at_once_are_refused(
    browser: Browser, house: House, people: dict[str, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "MOST_OF_ONE", 0)
    assert (await fetch(browser, people["bob"], USAGE)).status == 429
    monkeypatch.undo()
    assert (await fetch(browser, people["bob"], USAGE)).status == 200


async def test_nothing_is_left_behind(house: House) -> None:
    assert list((house.settings.instance.data_dir / "tmp").iterdir()) == []
