"""The telemetry process on its socket, and the web process's door to it."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import numpy as np
import pytest

from app.rest.table import PREFIX
from backend.agent.telemetry.push import Door, Pusher
from backend.agent.telemetry.series import Row as Measured
from backend.sessions.life.rows import Row
from backend.sessions.life.submission import secret_purpose
from backend.store import Database, SecretBox
from backend.telemetry import JobRef, open_telemetry
from backend.telemetry.intake import ProcessAway, ask, ask_blocking, socket_path
from backend.telemetry.intake.service import TelemetryStartError, serve
from backend.telemetry.store import Recovered
from config import Settings, load_settings
from tests.unit.gatehouse import Browser, House
from tests.unit.intake_kit import CLUSTER, Agent, Signed, publish_jobs

ROOT = Path(__file__).resolve().parents[2]
SESSION = "s1234567"
HEADERS = {"Content-Type": "application/json", "Content-Encoding": "deflate"}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A web process on a data folder of its own."""
    made = House(tmp_path)
    made.start()
    yield made
    made.stop()


def add_session(settings: Settings, session_id: str = SESSION, job_id: int = 7) -> Agent:
    """A ready session in the console's database; its agent."""
    box = SecretBox(settings.instance.data_dir)
    db = Database(settings.store.url)
    db.upgrade()
    with db.begin() as tx:
        tx.add(Row(
            id=session_id, owner="ada", uid=1000, cluster=CLUSTER, request={}, state="ready", tls_fingerprint="",
            secret=box.encrypt(b"a secret", purpose=secret_purpose(session_id)), job_id=job_id, confirmed=True,
            apps={}, created_s=0, not_after_s=0,
        ))  # fmt: skip
    db.close()
    return Agent(f"session:{session_id}", "a secret")


@asynccontextmanager
async def process(settings: Settings) -> AsyncIterator[None]:
    """The telemetry process, on this loop."""
    stop = asyncio.Event()
    running = asyncio.ensure_future(serve(settings, stop))
    while not socket_path(settings.instance.data_dir).exists() and not running.done():
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        stop.set()
        await running


def sample(agent: Agent, ago_s: float = 1.0) -> Signed:
    return agent.batch(7, [round(time.time() - ago_s, 1)], cpu_cores=[1.5])


async def post(browser: Browser, batch: Signed, **headers: str) -> tuple[int, str | None]:
    signed = HEADERS | {"X-Carme-Sender": batch.sender, "X-Carme-Mac": batch.mac} | headers
    answer = await browser.ask("POST", f"{PREFIX}/agent/samples", signed, data=batch.body)
    return answer.status, answer.headers.get("Retry-After")


async def test_a_batch_goes_through_the_console_and_is_seen_by_its_pages(house: House) -> None:
    publish_jobs(house.settings.instance.data_dir, {7: "n1"})
    agent = add_session(house.settings)
    async with house.browser() as browser:
        assert await post(browser, sample(agent)) == (503, "10")
        async with process(house.settings):
            assert stat.S_IMODE(socket_path(house.settings.instance.data_dir).stat().st_mode) == 0o600
            assert (await post(browser, sample(agent)))[0] == 204
            assert (await post(browser, sample(agent), **{"X-Carme-Mac": "0" * 64}))[0] == 403
            assert (await post(browser, agent.raw(b"{}")))[0] == 400
            assert (await post(browser, sample(agent), **{"Content-Encoding": "gzip"}))[0] == 415
            telemetry = house.services.telemetry
            job = JobRef(CLUSTER, 7, int(time.time()) - 60)
            (one,) = await asyncio.to_thread(telemetry.series, job, ["cpu_cores"])
            assert one.means == (1.5,)
            assert (await asyncio.to_thread(telemetry.running, CLUSTER)).num_rows == 1
            assert (await asyncio.to_thread(lambda: telemetry.state)).error is None
        (again,) = await asyncio.to_thread(telemetry.series, job, ["cpu_cores"])
        assert again == one


async def test_an_absent_process_is_said_with_since_when(tmp_path: Path) -> None:
    settings = load_settings(None, {}, {"instance.data_dir": tmp_path})
    before_s = time.time()
    state = open_telemetry(settings).state
    assert "telemetry process" in (state.error or "")
    assert (state.error_since_s or 0) >= before_s
    with pytest.raises(ProcessAway):
        await ask(socket_path(tmp_path), {"do": "state"})
    with pytest.raises(ProcessAway):
        ask_blocking(socket_path(tmp_path), {"do": "state"})


async def test_a_second_process_on_a_data_folder_does_not_start(tmp_path: Path) -> None:
    settings = load_settings(None, {}, {"instance.data_dir": tmp_path})
    Database(settings.store.url).upgrade()
    async with process(settings):
        with pytest.raises(TelemetryStartError, match="another process"):
            await serve(settings, asyncio.Event())
        assert socket_path(tmp_path).exists()


async def test_nonsense_on_the_socket_ends_that_connection_alone(tmp_path: Path) -> None:
    settings = load_settings(None, {}, {"instance.data_dir": tmp_path})
    Database(settings.store.url).upgrade()
    async with process(settings):
        for odd in (b"\n", b"[]\n", b'{"do":"x","length":0}\n', b'{"do":"take","length":-1}\n', b"x" * 300_000):
            reader, writer = await asyncio.open_unix_connection(str(socket_path(tmp_path)))
            writer.write(odd)
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
        assert "newest_s" in (await ask(socket_path(tmp_path), {"do": "state"}))[0]


@contextmanager
def killable(data_dir: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The telemetry process as a process of its own."""
    started = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "serve", "--as-process", "telemetry"],
        cwd=ROOT, env={**os.environ, "CARME_DATA": str(data_dir)},
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                ask_blocking(socket_path(data_dir), {"do": "state"})
                break
            except ProcessAway:
                time.sleep(0.05)
        yield started
    finally:
        if started.poll() is None:
            started.send_signal(signal.SIGKILL)
        started.wait()


async def test_killed_while_a_thousand_agents_send_nothing_acknowledged_is_lost_and_nothing_is_twice(
    tmp_path: Path,
) -> None:
    count = 1000
    publish_jobs(tmp_path, dict.fromkeys(range(1, count + 1), "n1"))
    agents = add_agents(tmp_path, count)
    path = socket_path(tmp_path)
    now_s = round(time.time(), 1)
    acknowledged: dict[int, list[int]] = {number: [] for number in range(1, count + 1)}
    kept: dict[int, list[tuple[int, Signed]]] = {number: [] for number in acknowledged}
    limit = asyncio.Semaphore(100)

    async def push(number: int, agent: Agent, value: int, batch: Signed | None = None) -> None:
        batch = batch or agent.batch(number, [now_s - 100 + value], cpu_cores=[value])
        async with limit:
            try:
                answer, _ = await ask(path, {"do": "take", "sender": batch.sender, "mac": batch.mac}, batch.body)
            except ProcessAway:
                kept[number].append((value, batch))
                return
        if answer["status"] == 204:
            acknowledged[number].append(value)
        else:
            kept[number].append((value, batch))

    with killable(tmp_path) as running:
        for value in range(4):
            pushes = [asyncio.ensure_future(push(number, agent, value)) for number, agent in agents.items()]
            if value == 2:
                while sum(map(len, acknowledged.values())) < 2 * count + count // 2:
                    await asyncio.sleep(0.001)
                running.send_signal(signal.SIGKILL)
            await asyncio.gather(*pushes)
    before = sum(map(len, acknowledged.values()))
    assert 2 * count <= before < 4 * count
    with killable(tmp_path):
        found = await asyncio.to_thread(everything, tmp_path, acknowledged)
        for number, values in acknowledged.items():
            assert set(values) <= set(found[number]), number
        # What was not acknowledged is sent again, with its bytes: some of it was on disk all the same.
        for number, batches in kept.items():
            again, kept[number] = list(batches), []
            for value, batch in again:
                await push(number, agents[number], value, batch)
        found = await asyncio.to_thread(everything, tmp_path, acknowledged)
    assert all(found[number] == [0, 1, 2, 3] for number in acknowledged)
    assert not any(kept.values())


def add_agents(data_dir: Path, count: int) -> dict[int, Agent]:
    """As many sessions with one job each."""
    settings = load_settings(None, {}, {"instance.data_dir": data_dir})
    box = SecretBox(data_dir)
    db = Database(settings.store.url)
    db.upgrade()
    secret = {}
    with db.begin() as tx:
        for number in range(1, count + 1):
            session_id = f"s{number:07d}"
            secret[number] = f"secret {number}"
            tx.add(Row(
                id=session_id, owner="ada", uid=1000, cluster=CLUSTER, request={}, state="ready", tls_fingerprint="",
                secret=box.encrypt(secret[number].encode(), purpose=secret_purpose(session_id)), job_id=number,
                confirmed=True, apps={}, created_s=0, not_after_s=0,
            ))  # fmt: skip
    db.close()
    return {number: Agent(f"session:s{number:07d}", key) for number, key in secret.items()}


def everything(data_dir: Path, jobs: Iterable[int]) -> dict[int, list[float]]:
    """Each job's samples, as they are on disk."""
    log = Recovered(data_dir / "telemetry")
    return {job_id: [float(v) for chunk in log.chunks(CLUSTER, job_id) for v in chunk.means[0]] for job_id in jobs}


async def test_after_ten_minutes_without_the_process_an_agents_curve_has_no_gap(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.rest.agent.AWAY_RETRY_S", 1)
    publish_jobs(house.settings.instance.data_dir, {7: "n1"})
    agent = add_session(house.settings)
    clock = [0.0]
    pusher = Pusher(
        Door(house.url, agent.sender, agent.key), "n1", lambda _: None, clock=lambda: clock[0]
    )
    rows = 0

    def sample_for(seconds: int) -> None:
        nonlocal rows
        for _ in range(0, seconds, 10):
            clock[0] += 10
            pusher.add([Measured(7, "", "", pusher.now_s(), {"cpu_cores": float(rows)})], fresh=False)
            rows += 1

    async def kept(count: int) -> list[float]:
        while len(found := everything(house.settings.instance.data_dir, [7])[7]) < count:
            await asyncio.sleep(0.05)
        return found

    pusher.start()
    async with process(house.settings):
        sample_for(120)
        await kept(rows - 3)  # from now on three go out together
    sample_for(600)
    async with process(house.settings):
        sample_for(60)
        await asyncio.to_thread(pusher.close, 60.0)
        found = await kept(rows)
    assert found == [float(value) for value in range(rows)]
    log = Recovered(house.settings.instance.data_dir / "telemetry")
    (chunk,) = log.chunks(CLUSTER, 7)
    assert set(np.diff(chunk.times_s).round(1)) == {10.0}
