"""The waste desk out of a real Prometheus and a real VictoriaMetrics: what it says out of the console's own store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from backend.telemetry import JobRef
from backend.telemetry.prometheus import PrometheusTelemetry
from backend.telemetry.prometheus.api import Api
from pages.waste import idle, jobs_of, look
from tests.cluster.prometheus import SERVERS, exposed
from tests.unit.jobs_kit import CLUSTER, keep, past
from tests.unit.pages_kit import OPERATOR, World
from tests.unit.pages_kit import job as queued
from tests.unit.telemetry_kit import TelemetrySite

HOUR = 3600
STEP_S = 300  # by which a day is looked at
SHARE = "gpu_utilisation_percent"
ENDED, IDLE, BUSY, LONG, BURSTS, AGAIN, WOKEN = range(41, 48)


@dataclass(frozen=True)
class Asked:
    own: Any  # services that ask the console's own store
    server: Any  # the same people, jobs and accounts, asking the server
    site: TelemetrySite


def busy_for(seconds: float) -> Any:
    return lambda t: np.where(np.asarray(t) < seconds, 90.0, 0.0)


def filled(site: TelemetrySite) -> Iterator[JobRef]:
    yield site.job(ENDED, gpus=2, hours=2, ended_ago_s=HOUR, shape={("gpu:1", SHARE): 0.0})
    yield site.job(IDLE, hours=5, every_s=30, shape={SHARE: busy_for(600)})
    yield site.job(BUSY, hours=5, every_s=30)
    yield site.job(LONG, hours=30, every_s=60, shape={"gpu_busy_percent": busy_for(HOUR)})
    # Never at work at a moment of five minutes and five minutes before now, and at work in each of them.
    yield site.job(BURSTS, hours=5, shape={SHARE: lambda t: np.where((5 * HOUR - t) % 300 // 90 == 2, 90.0, 0.0)})
    yield site.job(AGAIN, hours=2, every_s=30, ended_ago_s=3 * HOUR)
    yield site.job(AGAIN, hours=2, every_s=30, shape={SHARE: 0.0})
    yield site.job(WOKEN, hours=5, every_s=30, shape={SHARE: lambda t: np.where(t > 5 * HOUR - 120, 90.0, 0.0)})


@pytest.fixture(scope="module", params=SERVERS)
def asked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    folder = tmp_path_factory.mktemp(request.param)
    site = TelemetrySite(folder / "telemetry", cluster=CLUSTER)
    site.now_s = float(int(time.time()))
    refs = list(filled(site))
    world = World(folder / "world", site.telemetry)
    runs = [ref for ref in refs if ref.end_s is None]
    world.publish(jobs=[queued(ref.job_id, start_s=ref.start_s, gpus=1, gpu_type="a100") for ref in runs])
    keep(world, *(
        past(ref.job_id, start_s=ref.start_s, end_s=ref.end_s, submit_s=ref.start_s - 5, seen_s=int(site.now_s),
             gpus=2 if ref.job_id == ENDED else 1, state="COMPLETED" if ref.end_s else "RUNNING")
        for ref in refs
    ))  # fmt: skip
    chunks = [chunk for job_id in sorted({ref.job_id for ref in refs}) for chunk in site.store.chunks(CLUSTER, job_id)]
    with SERVERS[request.param](folder, exposed(chunks)) as url:
        yield Asked(world.services, replace(world.services, telemetry=PrometheusTelemetry(Api(url))), site)
    site.store.close()


def test_jobs_that_left_their_gpus_idle_for_hours_are_found_and_those_at_work_are_not(asked: Asked) -> None:
    own, found = (
        {job["job_id"]: job for job in idle(each, OPERATOR, 30)["jobs"]} for each in (asked.own, asked.server)
    )
    assert set(own) == {IDLE, LONG, AGAIN}
    assert set(found) == set(own)
    for job_id, job in found.items():
        assert job["gpu_model"] == own[job_id]["gpu_model"]
        assert asked.site.now_s - job["last_s"] < STEP_S
    assert 0 <= found[IDLE]["idle_since_s"] - own[IDLE]["idle_since_s"] <= STEP_S
    assert [found[job_id]["never"] for job_id in (IDLE, LONG, AGAIN)] == [False, False, True]


def test_how_long_is_never_said_to_be_longer_than_it_was(asked: Asked) -> None:
    minutes = int(asked.site.now_s - asked.site.store.footprints(CLUSTER, [IDLE])[0]["last_active_s"]) // 60
    assert IDLE not in {job["job_id"] for job in idle(asked.server, OPERATOR, minutes + 2)["jobs"]}
    assert IDLE in {job["job_id"] for job in idle(asked.server, OPERATOR, minutes - STEP_S // 60 - 2)["jobs"]}


def test_of_a_days_jobs_those_that_are_over_are_not_looked_at(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    queries: list[str] = []
    ask = Api.range

    def kept(self: Api, query: str, first_s: float, last_s: float, step_s: float) -> Any:
        queries.append(query)
        return ask(self, query, first_s, last_s, step_s)

    monkeypatch.setattr(Api, "range", kept)
    assert asked.server.telemetry.running(CLUSTER).num_rows == 6
    assert str(IDLE) in queries[0] and not any(str(ENDED) in query for query in queries)


def test_hours_are_those_of_the_consoles_own_store(asked: Asked) -> None:
    own, found = (look(each, OPERATOR, "week")["total"] for each in (asked.own, asked.server))
    assert (found["jobs"], found["measured_jobs"]) == (own["jobs"], own["measured_jobs"]) == (8, 8)
    assert found["allocated"] == pytest.approx(own["allocated"], abs=0.1)
    assert found["measured"] == pytest.approx(own["measured"], rel=0.03)
    assert found["idle"] == pytest.approx(own["idle"], rel=0.05)


def test_hours_of_each_job_are_those_of_the_consoles_own_store(asked: Asked) -> None:
    own, found = (
        {(job["job_id"], job["start_s"]): job for job in jobs_of(each, OPERATOR, "week", "user", "ada")["jobs"]}
        for each in (asked.own, asked.server)
    )
    assert set(found) == set(own)
    for key, job in found.items():
        assert job["measured"] == pytest.approx(own[key]["measured"], rel=0.03), key
        if job["job_id"] != BURSTS:  # in step with the looks at it
            assert job["idle"] == pytest.approx(own[key]["idle"], rel=0.05, abs=0.05), key


def test_what_was_scraped_just_now_is_shown_as_it_was(asked: Asked) -> None:
    job = JobRef(CLUSTER, WOKEN, int(asked.site.now_s) - 5 * HOUR)
    since_s = asked.site.now_s - 600
    own, found = (
        each.telemetry.series(job, [SHARE, "cpu_cores"], since_s=since_s, resolution="raw")
        for each in (asked.own, asked.server)
    )
    assert [(one.metric, one.times_s, one.means) for one in found] == [
        (one.metric, one.times_s, one.means) for one in own
    ]
