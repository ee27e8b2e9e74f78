"""Telemetry out of a real Prometheus and a real VictoriaMetrics: the same answers as out of the console's own store."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from backend.telemetry import JobRef, TelemetryUnusable
from backend.telemetry.prometheus import PrometheusTelemetry, source
from backend.telemetry.prometheus.api import Api
from backend.telemetry.rows import wide_rows
from tests.cluster.prometheus import SERVERS, exposed
from tests.unit.telemetry_kit import CLUSTER, TelemetrySite, ramp, square

JOB_ID = 7


class Both:
    """One job, in a Prometheus and in an embedded store; both asked as of the same moment."""

    def __init__(self, url: str, site: TelemetrySite, job: JobRef) -> None:
        self.job = job
        self.own = site.telemetry
        self.site = site
        self.prometheus = PrometheusTelemetry(Api(url), now=lambda: site.now_s)
        self.later = PrometheusTelemetry(Api(url), every_s=15, now=lambda: site.now_s + 100)


def filled(folder: Path, now_s: float) -> tuple[TelemetrySite, JobRef]:
    site = TelemetrySite(folder)
    site.now_s = now_s
    shape = {"cpu_cores": ramp(0, 8), ("n2", "gpu:1", "gpu_utilisation_percent"): square(0, 100, 600)}
    return site, site.job(JOB_ID, nodes=("n1", "n2"), gpus=2, hours=1, shape=shape, node_wide=True)


@pytest.fixture(scope="module", params=SERVERS)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp(request.param)
    site, job = filled(folder / "telemetry", float(int(time.time() / 3600) * 3600 - 7200))
    with SERVERS[request.param](folder, exposed(site.store.chunks(CLUSTER, JOB_ID))) as url:
        yield Both(url, site, job)


@pytest.mark.parametrize("points", [60, 600])
def test_series_are_the_same(both: Both, points: int) -> None:
    metrics = ["cpu_cores", "gpu_utilisation_percent", "memory_peak_bytes", "node_cpu_cores"]
    own = both.own.series(both.job, metrics, points=points)
    found = both.prometheus.series(both.job, metrics, points=points)
    assert [(one.node, one.device, one.metric, one.step_s, one.times_s) for one in found] == [
        (one.node, one.device, one.metric, one.step_s, one.times_s) for one in own
    ]
    for theirs, ours in zip(found, own, strict=True):
        assert theirs.means == pytest.approx(ours.means, rel=1e-4, abs=1e-3)
        assert theirs.lows == pytest.approx(ours.lows, rel=1e-4, abs=1e-3)
        assert theirs.highs == pytest.approx(ours.highs, rel=1e-4, abs=1e-3)


def test_a_window_and_a_node_can_be_chosen(both: Both) -> None:
    since_s = both.job.start_s + 1200.0
    (one,) = both.prometheus.series(both.job, ["cpu_cores"], since_s=since_s, until_s=since_s + 600, nodes=["n2"])
    assert one.node == "n2"
    assert since_s - one.step_s < one.times_s[0] <= one.times_s[-1] < since_s + 600


def test_rows_of_every_sample_are_the_same(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "STRETCH_S", 1000)
    devices = both.own.devices(both.job)
    ours, theirs = (
        pa.Table.from_batches(wide_rows(telemetry, both.job, devices)) for telemetry in (both.own, both.prometheus)
    )
    for name in ("time_s", "node", "device"):
        assert theirs[name].to_pylist() == ours[name].to_pylist()
    for name in ("cpu_cores", "gpu_utilisation_percent", "node_cpu_cores"):
        was, known = (table[name].fill_null(-1.0).to_pylist() for table in (theirs, ours))
        assert was == pytest.approx(known, rel=1e-3, abs=1e-3)


def test_devices_and_footprints_are_the_same(both: Both) -> None:
    assert both.prometheus.devices(both.job) == both.own.devices(both.job)
    (ours,) = both.own.footprints([both.job]).to_pylist()
    (theirs,) = both.prometheus.footprints([both.job]).to_pylist()
    for name in ("nodes", "cpus", "gpus", "gpu_model", "memory_peak_bytes", "memory_limit_bytes", "gpus_used"):
        assert theirs[name] == ours[name], name
    for name in ("cpu_cores_mean", "cpu_cores_p95", "gpu_percent_mean", "gpu_idle_s", "read_bytes", "gpu_power_mean_w"):
        assert theirs[name] == pytest.approx(ours[name], rel=0.03), name
    assert both.prometheus.sparks([both.job])[both.job].gpu_percent


def test_a_line_tells_when_its_newest_value_was_scraped_not_how_long_it_is_shown(both: Both) -> None:
    found = both.later.sparks([both.job])[both.job]
    assert found.last_s == pytest.approx(both.own.sparks([both.job])[both.job].last_s, abs=0.01)
    assert found.every_s == 15


def test_a_job_nobody_measured_is_left_out(both: Both) -> None:
    other = JobRef(CLUSTER, 8, both.job.start_s)
    assert both.prometheus.series(other, ["cpu_cores"]) == ()
    assert both.prometheus.devices(other) == ()
    assert both.prometheus.footprints([other]).num_rows == 0


def test_running_jobs_and_those_of_a_window_are_found(both: Both) -> None:
    assert both.prometheus.running(CLUSTER)["job_id"].to_pylist() == [JOB_ID]
    start_s = both.job.start_s
    assert both.prometheus.footprints_of([CLUSTER], start_s, start_s + 3600)["job_id"].to_pylist() == [JOB_ID]
    assert both.prometheus.footprints_of([CLUSTER], start_s - 9000, start_s - 8000).num_rows == 0
    assert both.prometheus.state.as_of_s == pytest.approx(both.site.now_s, abs=10)


def test_a_cluster_of_an_odd_name_is_only_a_name(both: Both) -> None:
    odd = JobRef('x"} or vector(1) #', JOB_ID, both.job.start_s)
    assert both.prometheus.series(odd, ["cpu_cores"]) == ()


def test_one_that_is_away_is_said() -> None:
    away = PrometheusTelemetry(Api("http://127.0.0.1:9"))
    assert "http://127.0.0.1:9 can't be asked" in (away.state.error or "")
    assert away.state.error_since_s
    with pytest.raises(TelemetryUnusable):
        away.running(CLUSTER)
