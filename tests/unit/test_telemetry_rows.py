"""All samples of a job as rows: the same as its curves, a device in memory at a time."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from backend.telemetry import JobRef
from backend.telemetry.rows import wide_rows, wide_schema
from backend.telemetry.store import Keeping
from backend.telemetry.store.layout import files
from tests.unit.telemetry_kit import NOW_S, TelemetrySite, ramp

A_POINT_BYTES = 12  # of all points together: less than they take as numbers of Python, or as columns of doubles


@pytest.fixture
def site(tmp_path: Path) -> TelemetrySite:
    return TelemetrySite(tmp_path, Keeping(raw_days=1 / 24, minute_days=2 / 24, archive_points=2000))


def curves(site: TelemetrySite, job: JobRef) -> dict[tuple[str, str, str], dict[float, float]]:
    metrics = wide_schema(site.telemetry.devices(job)).names[3:]
    found = site.telemetry.series(job, metrics, points=10**7, resolution="raw")
    return {(each.node, each.device, each.metric): dict(zip(each.times_s, each.means, strict=True)) for each in found}


def test_rows_are_the_samples_node_by_node_and_device_by_device(site: TelemetrySite) -> None:
    shape = {"cpu_cores": ramp(0, 8), ("n2", "gpu:1", "gpu_power_w"): None}
    job = site.job(7, nodes=("n1", "n2", "n10"), gpus=11, hours=0.5, shape=shape, node_wide=True)
    site.settle()
    site.now_s += 60
    check(site, JobRef(job.cluster, 7, job.start_s))


def test_rows_are_the_minutes_and_the_archive_where_samples_are_gone(site: TelemetrySite) -> None:
    job = site.job(7, nodes=("n1", "n2"), gpus=2, hours=1, shape={"cpu_cores": ramp(0, 8)})
    site.settle()
    site.now_s += 5400
    site.settle()
    check(site, JobRef(job.cluster, 7, job.start_s))
    old = site.job(8, gpus=2, hours=2, ended_ago_s=600)
    site.settle()
    site.now_s += 86400
    site.settle()
    check(site, old)


def check(site: TelemetrySite, job: JobRef) -> None:
    devices = site.telemetry.devices(job)
    known = curves(site, job)
    assert known
    rows = [row for batch in wide_rows(site.telemetry, job, devices) for row in batch.to_pylist()]
    assert list(dict.fromkeys((row["node"], row["device"]) for row in rows)) == [(d.node, d.device) for d in devices]
    found: dict[tuple[str, str, str], dict[float, float]] = {}
    for before, row in zip([None, *rows], rows, strict=False):
        node, device, time_s = row.pop("node"), row.pop("device"), row.pop("time_s")
        if before is not None and before["of"] == (node, device):
            assert before["time_s"] < time_s
        for metric, value in row.items():
            if value is not None:
                found.setdefault((node, device, metric), {})[time_s] = value
        row |= {"of": (node, device), "time_s": time_s}
    assert found == known


def test_a_stretch_can_be_chosen(site: TelemetrySite) -> None:
    job = site.job(7, hours=0.5)
    since_s, until_s = NOW_S - 600, NOW_S - 300
    batches = wide_rows(site.telemetry, job, site.telemetry.devices(job), since_s=since_s, until_s=until_s)
    times = np.concatenate([batch["time_s"].to_numpy() for batch in batches])
    assert (times.size, times.min(), times.max()) == (2 * 30, since_s, until_s - 10)


@pytest.mark.parametrize("settled", [False, True])
def test_many_devices_take_little_more_memory_than_one(
    site: TelemetrySite, settled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "GROUP_VALUES", 1 << 14)
    job = site.job(7, gpus=100, hours=0.5)
    if settled:
        site.settle()
    devices = site.telemetry.devices(job)
    points = sum(len(each.metrics) for each in devices) * 180
    tracemalloc.start()
    try:
        rows = sum(batch.num_rows for batch in wide_rows(site.telemetry, job, devices))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert rows == 101 * 180
    assert peak_bytes < A_POINT_BYTES * points
