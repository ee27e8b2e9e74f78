"""The Job page on the real cluster: what it shows of a session on two nodes and of a plain job is what they did.

Both jobs run under loads of known shape at the same time, and their owners look: while they run, and from the archive.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.apart import SETTINGS, Apart, until
from tests.browser.known_curves import (
    HALF_S,
    SAMPLE_S,
    Curve,
    Levels,
    Waves,
    assert_level,
    assert_load,
    curves,
    step_of,
)
from tests.cluster.test_telemetry import PYTHON, Truth, gpus_of, known_of
from tests.harness import Cluster
from tests.harness import console as consoles
from tests.harness.console import merged
from tests.harness.kinds import submit
from tests.harness.nodes import start_node_service
from tests.harness.visitor import Visitor

LOAD_S = 5 * HALF_S
VISIBLE_MS = 90_000
NODES = {"a100-01", "a100-02", "a100-03"}
CHARTS = ("GPU utilisation", "GPU memory", "GPU power", "CPU", "Memory", "Disk written")
MEASURED = {
    "instance": {"time_zone": "UTC"},
    "agent": {"sample_every_s": int(SAMPLE_S)},
    "accounting": {"sync_every_s": 5},
    "telemetry": {"archive_points": 100_000},  # every sample of these short jobs, however many metrics there are
}
# What housekeeping does once all samples and minutes are too old to be kept; prints of what kinds the files are then.
LATER = """\
import json, os, sys, time
from pathlib import Path
from backend.cluster import SnapshotReader
from backend.telemetry.intake.keeping import Housekeeper, keeping_of
from backend.telemetry.intake.rights import Rights
from backend.telemetry.intake.sight import JobsNow
from backend.telemetry.store import Store, maintain
from config import load_settings
settings = load_settings(Path(sys.argv[1]), os.environ)
data, kept = settings.instance.data_dir, settings.telemetry
def later():
    return time.time() + (kept.raw_days + kept.minute_days + 1) * 86400
store = Store(data / "telemetry", keeping_of(settings), now=later)
jobs = JobsNow(SnapshotReader(data / "snapshot"))
Housekeeper(store, jobs, Rights(jobs, store), data / "accounting", later).follow()
maintain(store)
print(json.dumps(sorted({file.tier for file in store.manifest.files})))
store.close()
"""


class Measuring(Apart):
    """Its telemetry process can be stopped while the others go on."""

    def start(self) -> None:
        super().start()
        self.telemetry()

    def telemetry(self) -> None:
        """Start it."""
        self._spawn("telemetry", self.config, "--only", "telemetry", user="carme")

    def grown_old(self) -> list[str]:
        """As if weeks had gone by: only archives are left. Gives what kinds of files there are."""
        process = self.processes.pop()
        process.terminate()
        process.wait(25)
        done = self._run([consoles.PYTHON, "-c", LATER, str(self.config)])
        assert done.returncode == 0, done.stderr
        self.telemetry()
        until((self.data_dir / "run/telemetry.sock").exists)
        tiers: list[str] = json.loads(done.stdout)
        return tiers


@dataclass
class Seen:
    """A job, whose it is, the page it is looked at on, and what is known of it: GPUs by line, loads by node."""

    job: int
    owner: str
    page: Page
    gpus: dict[str, Levels]
    load: tuple[str, Path]

    @property
    def known(self) -> tuple[Truth, Truth, Truth]:
        return known_of(self.load[1])

    def address(self, console: Apart) -> str:
        """Of the stretch of the load: so short that the tables have a row for each sample."""
        times = self.known[0].times
        return f"{console.url}/job?id={self.job}&from={int(times[0]) - 1}&to={int(times[-1]) + 2}"

    def curves(self, console: Apart) -> dict[str, dict[str, Curve]]:
        """What the page shows of that stretch."""
        self.page.goto(self.address(console))
        opened(self.page)
        return {title: curves(self.page, title) for title in CHARTS}

    def check(self, shown: dict[str, dict[str, Curve]]) -> None:
        """That this is what it did."""
        assert_load(shown, self.load[0], self.known)
        for title, scale, base in (("GPU utilisation", 1, 0), ("GPU power", 1, 100), ("GPU memory", 2**29, 0)):
            assert shown[title].keys() == self.gpus.keys()
            for line, levels in self.gpus.items():
                assert_level(shown[title][line], levels, scale, base)


def opened(page: Page) -> None:
    expect(page.locator(".console[data-live]")).to_be_visible(timeout=VISIBLE_MS)
    expect(page.locator(".skeleton")).to_have_count(0, timeout=VISIBLE_MS)
    expect(page.get_by_role("button", name="CPU as a table", exact=True)).to_be_visible(timeout=VISIBLE_MS)


@pytest.fixture(scope="module")
def console(cluster: Cluster) -> Iterator[Measuring]:
    cluster.settle()
    running = Measuring.on(cluster, merged(SETTINGS, MEASURED), name="console-measuring")
    assert isinstance(running, Measuring)
    yield running
    running.stop()
    cluster.settle()


def load_on(cluster: Cluster, name: str) -> tuple[list[str], Path]:
    """The command that makes the load, and where it writes what it did."""
    folder = cluster.make_folder(f"load-{name}-{time.monotonic_ns()}", mode=0o777)
    program = folder / "known_load.py"
    program.write_text((Path(__file__).parents[1] / "cluster/known_load.py").read_text())
    program.chmod(0o644)
    log = folder / "load.log"
    return [PYTHON, str(program), str(log), str(LOAD_S), str(HALF_S)], log


def finished(log: Path) -> bool:
    if not log.exists():
        return False
    times = [float(line.split()[0]) for line in log.read_text().splitlines() if line.count(" ") == 3]
    return bool(times) and times[-1] - times[0] > LOAD_S - 1


def page_of(browser: Browser, console: Apart, visitor: Visitor) -> Page:
    context = browser.new_context(viewport={"width": 1360, "height": 900})
    context.add_cookies(
        [{"name": name, "value": value, "url": console.url} for name, value in visitor.http.cookies.get_dict().items()]
    )
    return context.new_page()


def session_on_two_nodes(cluster: Cluster, visitor: Visitor) -> tuple[int, list[str]]:
    """Launch one with a GPU on each; its job, and its nodes."""
    asked = {"gpus": 1, "gpu_type": "a100", "nodes": 2, "cpus": 4, "memory_mb": 8192, "time_s": 3600}
    answer = visitor.api("POST", "/sessions", json=asked)
    assert answer.status_code == 201, answer.text
    path = f"/sessions/{answer.json()['id']}"
    job = int(until(lambda: visitor.api("GET", path).json()["job_id"]))

    def running() -> list[str]:
        shown = cluster.run(["squeue", "-h", "-tR", "-j", str(job), "-o", "%N"]).stdout.strip()
        return cluster.run(["scontrol", "show", "hostnames", shown]).stdout.split() if shown else []

    return job, until(running)


@pytest.fixture(scope="module")
def seen(
    browser: Browser, cluster: Cluster, console: Measuring, request: pytest.FixtureRequest
) -> Iterator[list[Seen]]:
    """Ada's session and Bob's job, each on the page of its owner since its beginning; their loads are over."""
    ada, bob = (
        Visitor(console).sign_in(name, cluster.people[name].password, console.enrol(name)) for name in ("ada", "bob")
    )
    session, (first, second) = session_on_two_nodes(cluster, ada)
    (third,) = NODES - {first, second}
    key = console.cli("agent", "node-key", third).stdout.strip()
    service = start_node_service(cluster, third, console=console.url, key=key, every_s=SAMPLE_S)
    (command, log), (other, other_log) = load_on(cluster, "session"), load_on(cluster, "job")
    job = submit(
        cluster, "bob", f"-w{third}", "-n2", "--mem=4G", "--gres=gpu:a100:2", f"--wrap={' '.join(other)}; sleep 3600"
    )
    (one,), (two,) = (gpus_of(cluster, session, node) for node in (first, second))
    left, right = gpus_of(cluster, job, third)
    waves = Waves(cluster, {first: {one: (20, 70)}, second: {two: (90, 30)}, third: {left: (10, 80), right: (60, 40)}})
    request.addfinalizer(waves.end)  # also where what follows fails
    waves.start()
    pages = page_of(browser, console, ada), page_of(browser, console, bob)
    for page, number in zip(pages, (session, job), strict=True):
        page.goto(f"{console.url}/job?id={number}")
    until(lambda: "a100" in pages[0].content() and other_log.exists())
    work = cluster.popen(["srun", f"--jobid={session}", "--overlap", "-N1", "-n1", f"-w{second}", *command], "ada")
    for page in pages:
        opened(page)
    until(lambda: finished(log) and finished(other_log), 3 * LOAD_S)
    work.wait(60)
    waves.end()
    truth = waves.truth
    of_session = {f"{first} · GPU {one}": truth[first, one], f"{second} · GPU {two}": truth[second, two]}
    of_job = {f"GPU {left}": truth[third, left], f"GPU {right}": truth[third, right]}
    yield [
        Seen(session, "ada", pages[0], of_session, (second, log)),
        Seen(job, "bob", pages[1], of_job, (third, other_log)),
    ]
    for page in pages:
        page.context.close()
    service.terminate()
    service.wait(20)


def test_the_curves_are_what_the_jobs_do_while_they_run_and_the_same_from_the_archive(
    seen: list[Seen], cluster: Cluster, console: Measuring
) -> None:
    for each in seen:  # the page that is open adds what is new by itself
        last_s = each.known[0].times[-1]
        until(lambda each=each, last_s=last_s: max(curves(each.page, "CPU")[each.load[0]]) > last_s - 5, 60, 1)
    live = [each.curves(console) for each in seen]
    for each, shown in zip(seen, live, strict=True):
        each.check(shown)
    for each in seen:
        cluster.run(["scancel", str(each.job)], each.owner, check=True)
    for each in seen:
        expect(each.page.get_by_text("Ended", exact=True)).to_be_visible(timeout=VISIBLE_MS)
    assert console.grown_old() == ["archive", "jobs"]
    for each, before in zip(seen, live, strict=True):
        shown = each.curves(console)
        each.check(shown)
        for title, lines in before.items():
            for line, curve in lines.items():
                if step_of(curve) == step_of(shown[title][line]):
                    # Shown with three digits, what is small with two decimals: the last one of them may turn.
                    assert shown[title][line] == pytest.approx(curve, rel=0.0101, abs=0.0101), (title, line)


def test_the_job_of_another_is_refused(seen: list[Seen], console: Measuring) -> None:
    for each, other in zip(seen, reversed(seen), strict=True):
        each.page.goto(f"{console.url}/job?id={other.job}")
        expect(each.page.get_by_text("not yours to see")).to_be_visible(timeout=VISIBLE_MS)
