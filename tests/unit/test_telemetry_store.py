"""The embedded store of telemetry: what was taken in is found again, once, from wherever it lies by now."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import pytest

from backend.telemetry import JobRef, TelemetryUnusable
from backend.telemetry.store import Batch, Block, JobFacts, Keeping, Recovered, Store, StoreBusy, StoreReader
from backend.telemetry.store.layout.wal import wal_numbers, wal_path
from tests.unit.telemetry_kit import CLUSTER, NOW_S, TelemetrySite, ramp, square

DAY_S = 86400.0


@pytest.fixture
def site(tmp_path: Path) -> TelemetrySite:
    return TelemetrySite(tmp_path / "telemetry")


def batch(seq: int = 1, *, t: float = NOW_S - 5, value: float = 1.0, boot: str = "a" * 16, **more: object) -> Batch:
    block = Block(7, "", "", np.array([t]), ("cpu_cores",), np.array([[value]], np.float32))
    facts = {"sender": "session:x", "node": "n1", "sent_s": NOW_S, "mono_s": 50.0, "received_s": NOW_S}
    return Batch(CLUSTER, boot=boot, seq=seq, blocks=(block,), **facts | more)  # type: ignore[arg-type]


def values(site: TelemetrySite, job: JobRef, metric: str = "cpu_cores", **more: object) -> list[float]:
    return [mean for one in site.telemetry.series(job, [metric], **more) for mean in one.means]  # type: ignore[arg-type]


def test_a_known_shape_comes_back_from_memory_and_from_files(site: TelemetrySite) -> None:
    job = site.job(7, hours=0.5, gpus=2, shape={("gpu:1", "gpu_utilisation_percent"): square(0, 100, 600)})
    for _ in range(2):
        first, second = site.telemetry.series(job, ["gpu_utilisation_percent"], resolution="raw")
        assert set(first.means) == {90.0}
        seen = dict(zip(second.times_s, second.means, strict=True))
        assert all(seen[t] == (100.0 if (t - job.start_s) % 600 < 300 else 0.0) for t in second.times_s)
        assert len(seen) == 180
        site.settle()


def test_bins_are_aligned_and_hold_the_extremes(site: TelemetrySite) -> None:
    job = site.job(7, hours=2, shape={"cpu_cores": ramp(0, 7200, over_s=7200)})
    site.settle()
    (one,) = site.telemetry.series(job, ["cpu_cores"], points=60)
    assert all(t % one.step_s == 0 for t in one.times_s)
    assert all(low <= mean <= high for low, mean, high in zip(one.lows, one.means, one.highs, strict=True))
    assert one.highs[-1] == pytest.approx(7200, rel=1e-3)
    assert len(one.times_s) <= 60


def test_no_bin_is_narrower_than_the_samples_are_apart(site: TelemetrySite) -> None:
    job = site.job(7, hours=0.02)  # seven looks, ten seconds apart
    (one,) = site.telemetry.series(job, ["cpu_cores"])
    assert one.step_s == 10
    assert {later - before for before, later in itertools.pairwise(one.times_s)} == {10}
    (raw,) = site.telemetry.series(job, ["cpu_cores"], resolution="raw")
    assert raw.step_s < 10


@pytest.mark.parametrize("stretches", [[[10], [20], [30], [40, 42]], [[10, 20, 30], [40, 42]]])
def test_a_last_look_soon_after_the_one_before_makes_no_bins_narrower(
    site: TelemetrySite, stretches: list[list[float]]
) -> None:
    start_s = int(site.now_s) - 100
    job = JobRef(CLUSTER, 7, start_s)
    site.store.told([JobFacts(CLUSTER, 7, start_s, None)])
    for after in stretches:
        site.store.seal()
        times = start_s + np.array(after, float)
        site._send(7, "n1", times, gpus=0, start_s=start_s, shape={}, model="", node_wide=False)
    (one,) = site.telemetry.series(job, ["cpu_cores"])
    assert one.step_s == 10


def test_a_stretch_without_samples_has_no_point(site: TelemetrySite) -> None:
    gap = lambda t: np.where((t > 600) & (t < 1200), np.nan, 1.0)  # noqa: E731
    job = site.job(7, hours=0.5, shape={"cpu_cores": gap})
    (one,) = site.telemetry.series(job, ["cpu_cores"])
    assert not [t for t in one.times_s if 600 < t - job.start_s < 1200]


def test_devices_are_in_the_order_people_count(site: TelemetrySite) -> None:
    job = site.job(7, hours=0.1, gpus=11, nodes=("n10", "n2"), node_wide=True)
    for _ in range(2):
        found = site.telemetry.devices(job)
        assert [device.node for device in found] == ["n2"] * 13 + ["n10"] * 13
        assert [device.device for device in found[:13]] == ["", *(f"gpu:{number}" for number in range(11)), "node"]
        assert "gpu_power_w" in found[1].metrics
        site.settle()


def test_two_jobs_of_one_node_are_never_mixed_up(site: TelemetrySite) -> None:
    one = site.job(7, hours=1, shape={"cpu_cores": 1.0})
    two = site.job(8, hours=1, shape={"cpu_cores": 2.0})
    for _ in range(2):
        assert set(values(site, one)) == {1.0}
        assert set(values(site, two)) == {2.0}
        site.settle()


def test_attempts_of_one_job_are_told_apart(site: TelemetrySite) -> None:
    first = site.job(7, hours=1, ended_ago_s=7200, shape={"cpu_cores": 1.0})
    second = site.job(7, hours=1, shape={"cpu_cores": 4.0})
    for _ in range(2):
        assert set(values(site, first)) == {1.0}
        assert set(values(site, second)) == {4.0}
        means = site.telemetry.footprints([first, second])["cpu_cores_mean"].to_pylist()
        assert means == [1.0, 4.0]
        site.settle()


def test_what_was_acknowledged_outlives_a_killed_process(site: TelemetrySite, tmp_path: Path) -> None:
    job = site.job(7, hours=1)
    before = values(site, job)
    os.close(site.store._lock)  # as the kernel does it
    again = TelemetrySite(site.store.folder)
    assert values(again, job) == before
    assert again.telemetry.footprints([job])["samples"].to_pylist() == [360]


def test_a_batch_that_comes_again_is_not_written_twice(site: TelemetrySite) -> None:
    site.store.append([batch(1), batch(1), batch(2, t=NOW_S - 4)])
    site.settle()
    site = site.restarted()
    assert site.store.judge("session:x", "n1", "a" * 16, 1) == "taken"
    site.store.append([batch(2, t=NOW_S - 3)])
    job = JobRef(CLUSTER, 7, int(NOW_S - 60))
    assert len(values(site, job, resolution="raw")) == 2


def test_a_late_batch_between_others_is_taken(site: TelemetrySite) -> None:
    site.store.append([batch(1), batch(3, t=NOW_S - 1)])
    assert site.store.judge("session:x", "n1", "a" * 16, 2) == "new"
    site.store.append([batch(2, t=NOW_S - 3)])
    assert len(values(site, JobRef(CLUSTER, 7, int(NOW_S - 60)), resolution="raw")) == 3


def test_an_earlier_process_of_a_sender_is_known_as_replayed(site: TelemetrySite) -> None:
    site.store.append([batch(1, boot="a" * 16), batch(1, boot="b" * 16)])
    site.settle()
    site = site.restarted()
    assert site.store.judge("session:x", "n1", "a" * 16, 2) == "replayed"


def test_a_clock_that_is_off_is_corrected(site: TelemetrySite) -> None:
    wrong = {"sent_s": NOW_S - 500}
    site.store.append([batch(1, t=NOW_S - 520, **wrong), batch(2, t=NOW_S - 510, **wrong)])
    (one,) = site.telemetry.series(JobRef(CLUSTER, 7, int(NOW_S - 60)), ["cpu_cores"], points=5000)
    assert one.times_s == (NOW_S - 20, NOW_S - 10)


def test_a_first_batch_that_waited_for_ten_minutes_does_not_look_like_a_wrong_clock(site: TelemetrySite) -> None:
    waited = batch(1, t=NOW_S - 610, sent_s=NOW_S - 600, mono_s=0.0)
    site.store.append([waited, batch(2, t=NOW_S - 5, mono_s=600.0)])
    job = JobRef(CLUSTER, 7, int(NOW_S - 700))
    (one,) = site.telemetry.series(job, ["cpu_cores"], points=5000, resolution="raw")
    assert one.times_s == (NOW_S - 610, NOW_S - 5)


def test_a_log_that_was_cut_off_gives_all_before(site: TelemetrySite) -> None:
    site.store.append([batch(1)])
    site.store.append([batch(2, t=NOW_S - 3)])
    site.store.close()
    path = wal_path(site.store.folder, wal_numbers(site.store.folder)[-1])
    path.write_bytes(path.read_bytes()[:-5])
    again = TelemetrySite(site.store.folder)
    assert again.store.judge("session:x", "n1", "a" * 16, 1) == "taken"
    assert again.store.judge("session:x", "n1", "a" * 16, 2) == "new"


def test_without_the_process_the_log_tells_the_newest(site: TelemetrySite) -> None:
    job = site.job(7, hours=1)
    site.settle()
    site.store.append([batch(1, t=NOW_S - 1, value=9.0)])
    reader = StoreReader(site.store.folder, Recovered(site.store.folder), now=lambda: site.now_s)
    (one,) = reader.series(job, ["cpu_cores"])
    assert max(one.highs) == 9.0
    assert reader.running(CLUSTER).num_rows == 1


def test_only_one_process_writes(site: TelemetrySite) -> None:
    with pytest.raises(StoreBusy):
        Store(site.store.folder)


def test_an_ended_job_stays_when_its_samples_and_minutes_are_gone(site: TelemetrySite) -> None:
    job = site.job(7, hours=3, ended_ago_s=60, gpus=2, node_wide=True, shape={"cpu_cores": ramp(0, 8, over_s=10800)})
    footprint = site.telemetry.footprints([job]).to_pylist()
    site.settle()
    for day in (1, 3, 17, 18):
        site.now_s = NOW_S + day * DAY_S
        site.settle()
    assert {file.tier for file in site.store.manifest.files} == {"archive", "jobs"}
    (one,) = site.telemetry.series(job, ["cpu_cores"])
    assert one.means[0] == pytest.approx(0, abs=0.2)
    assert one.means[-1] == pytest.approx(8, abs=0.2)
    assert [device.device for device in site.telemetry.devices(job)] == ["", "gpu:0", "gpu:1", "node"]
    assert site.telemetry.footprints([job]).to_pylist() == footprint


def test_a_job_that_still_runs_keeps_its_minutes(site: TelemetrySite) -> None:
    job = site.job(7, hours=2)
    site.job(8, hours=2, ended_ago_s=60)
    for day in (1, 3, 17, 18):
        site.now_s = NOW_S + day * DAY_S
        site.settle()
    assert len(values(site, job, until_s=NOW_S, resolution="minute")) >= 100
    assert len(values(site, JobRef(CLUSTER, 8, int(NOW_S - 7260), int(NOW_S - 60)))) > 10


def test_samples_that_come_after_the_archive_are_in_the_next(site: TelemetrySite) -> None:
    job = site.job(7, hours=1, ended_ago_s=600, shape={"cpu_cores": 2.0})
    site.settle()
    site.store.append([batch(1, t=NOW_S - 625, value=50.0)])
    site.settle()
    for day in (1, 3, 17, 18):
        site.now_s = NOW_S + day * DAY_S
        site.settle()
    assert site.telemetry.footprints([job])["samples"].to_pylist() == [361]
    (one,) = site.telemetry.series(job, ["cpu_cores"])
    assert max(one.highs) == 50.0
    assert len(set(one.times_s)) == len(one.times_s)


def test_a_better_known_end_replaces_the_first(site: TelemetrySite) -> None:
    job = site.job(7, hours=1, ended_ago_s=600)
    site.settle()
    site.store.told([JobFacts(CLUSTER, 7, job.start_s, int(NOW_S - 300))])
    site.settle()
    found = site.telemetry.footprints_of([CLUSTER], int(NOW_S - 3600), int(NOW_S))
    assert found["end_s"].to_pylist() == [int(NOW_S - 300)]


def test_many_ended_jobs_make_few_files(site: TelemetrySite) -> None:
    for job_id in range(1, 41):
        site.job(job_id, hours=0.05, gpus=0, ended_ago_s=120)
        site.settle()
    assert len([file for file in site.store.manifest.files if file.tier in ("archive", "jobs")]) < 20
    found = site.telemetry.footprints_of([CLUSTER], 0, int(NOW_S))
    assert sorted(found["job_id"].to_pylist()) == list(range(1, 41))
    narrow = site.telemetry.footprints_of(["other", CLUSTER], 0, int(NOW_S), ("job_id", "samples"))
    assert narrow.equals(found.select(["job_id", "samples"]))
    assert site.telemetry.footprints_of(["other"], 0, int(NOW_S)).num_rows == 0


def test_put_together_files_say_the_same(site: TelemetrySite) -> None:
    start_s = NOW_S
    for part in range(12):
        site.now_s = start_s + part * 900
        site.store.append([batch(part + 1, t=site.now_s - 5, value=float(part), received_s=site.now_s)])
        site.settle()
    job = JobRef(CLUSTER, 7, int(start_s - 60))
    assert values(site, job, resolution="raw") == [float(part) for part in range(12)]
    assert len([file for file in site.store.manifest.files if file.tier == "raw"]) < 8


def test_a_long_jobs_line_tells_its_newest_sample_to_the_second(site: TelemetrySite) -> None:
    job = site.job(7, hours=3)
    site.now_s += 300
    spark = site.telemetry.sparks([job])[job]
    assert spark.step_s > 300
    assert (spark.last_s, spark.every_s) == (NOW_S, 10)


def test_running_names_who_sent_lately(site: TelemetrySite) -> None:
    site.job(7, hours=1)
    site.job(8, hours=1, ended_ago_s=60)
    assert site.telemetry.running(CLUSTER)["job_id"].to_pylist() == [7]
    assert site.telemetry.running("other").num_rows == 0
    site.now_s += 700
    assert site.telemetry.running(CLUSTER).num_rows == 0


def test_a_damaged_file_is_named(site: TelemetrySite) -> None:
    job = site.job(7, hours=1)
    site.settle()
    (minute,) = site.store.manifest.of("minute")
    (site.store.folder / minute.path).write_bytes(b"PAR1 no more")
    with pytest.raises(TelemetryUnusable, match=minute.path):
        site.telemetry.series(job, ["cpu_cores"], resolution="minute")


def test_a_damaged_manifest_is_told_by_the_state(site: TelemetrySite) -> None:
    site.job(7, hours=1)
    site.settle()
    (site.store.folder / "manifest.json").write_text("{")
    assert "manifest.json" in (site.telemetry.state.error or "")


def test_what_is_kept_is_told_tier_by_tier(site: TelemetrySite) -> None:
    site.job(7, hours=1, ended_ago_s=300)
    fresh = {each.tier: each for each in site.telemetry.state.kept}
    assert fresh["log"].size_bytes > 0
    assert [fresh[tier].rows for tier in ("raw", "minute", "archive", "jobs")] == [0, 0, 0, 0]
    site.settle()
    state = site.telemetry.state
    kept = {each.tier: each for each in state.kept}
    for tier in ("raw", "minute", "archive", "jobs"):
        files = list((site.store.folder / tier).glob("*.parquet"))
        assert kept[tier].size_bytes == sum(file.stat().st_size for file in files) > 0
    assert kept["jobs"].rows == 1
    assert kept["raw"].until_s == pytest.approx(state.as_of_s)
    assert kept["raw"].since_s == pytest.approx(kept["raw"].until_s - 3600, abs=60)
    assert state.size_bytes == sum(each.size_bytes for each in state.kept)


def test_no_store_yet_is_an_empty_one(tmp_path: Path) -> None:
    reader = StoreReader(tmp_path / "none", Recovered(tmp_path / "none"))
    job = JobRef(CLUSTER, 7, 0)
    assert reader.series(job, ["cpu_cores"]) == ()
    assert reader.devices(job) == ()
    assert reader.footprints([job]).num_rows == reader.running(CLUSTER).num_rows == 0
    assert reader.state.error is None


def test_archives_are_dropped_only_by_the_setting(tmp_path: Path) -> None:
    site = TelemetrySite(tmp_path / "t", Keeping(raw_days=1, minute_days=1, archive_days=30))
    job = site.job(7, hours=1, ended_ago_s=60)
    site.settle()
    site.now_s += 20 * DAY_S
    site.settle()
    assert site.telemetry.footprints([job]).num_rows == 1
    site.now_s += 20 * DAY_S
    site.settle()
    assert site.telemetry.footprints([job]).num_rows == 0
    assert site.telemetry.state.size_bytes < 10_000
