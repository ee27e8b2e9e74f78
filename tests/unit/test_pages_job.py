"""The Job page's answers: facts, curves, why there are none; the same refusal for none and for not theirs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.launcher import LauncherError
from backend.sessions import LaunchRequest
from backend.telemetry import METRICS, JobRef, Series, TelemetryState, TelemetryUnusable
from pages import job as page
from pages.parts.desk import Refused
from pages.parts.job.absent import why_absent
from pages.parts.job.curves import PARTS, packed, points_for
from pages.parts.job.facts import nodes_of
from pages.parts.job.groups import GROUPS
from tests.unit.jobs_kit import CLUSTER, Desk, keep, past
from tests.unit.pages_kit import ADA, BOB, COORDINATOR, OPERATOR, World, job, session_row
from tests.unit.telemetry_kit import TelemetrySite, ramp

ALL = [group.name for group in GROUPS]


class Scene:
    """Job 1 runs for an hour on two nodes with two GPUs each; 2 nobody measured; 3 waits; 9 was put back once."""

    def __init__(self, folder: Path) -> None:
        self.site = TelemetrySite(folder / "site", cluster=CLUSTER)
        self.site.now_s = float(int(time.time()))
        shape = {("n2", "gpu:1", "gpu_utilisation_percent"): ramp(0, 100)}
        self.run = self.site.job(1, nodes=("n1", "n2"), gpus=2, shape=shape)
        self.world = World(
            folder / "world",
            jobs=[
                job(
                    1,
                    start_s=self.run.start_s,
                    submit_s=self.run.start_s - 60,
                    gpus=4,
                    gpu_type="a100",
                    node_list="n[1-2]",
                ),
                job(2, "bob"),
                job(3, state="PENDING"),
            ],
        )
        now = int(time.time())
        keep(
            self.world,
            past(9, state="REQUEUED", submit_s=now - 9000, start_s=now - 8000, end_s=now - 7000),
            past(9, submit_s=now - 7000, start_s=now - 6900, end_s=now - 6890),
        )

    def desk(self, viewer: Any = ADA, **replaced: Any) -> Any:
        return Desk(self.world, viewer, **{"telemetry": self.site.telemetry, **replaced})

    def curves(self, viewer: Any = ADA, **args: Any) -> dict[str, Any]:
        desk = self.desk(viewer)
        found: dict[str, Any] = json.loads(page.measured(desk.services, desk.viewer, {"groups": ALL, **args}))
        return found


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    made = Scene(tmp_path_factory.mktemp("jobpage"))
    yield made
    made.site.store.close()


def values(line: list[Any]) -> list[float | None]:
    return [None if number is None else number * line[4] for number in line[5]]


def chart(found: dict[str, Any], metric: str) -> dict[str, Any]:
    (only,) = [each for group in found["groups"] for each in group["charts"] if each["metric"] == metric]
    return dict(only)


def test_every_metric_is_a_chart_or_the_limit_of_one() -> None:
    charts = {each.metric for group in GROUPS for each in group.charts}
    limits = {each.limit for group in GROUPS for each in group.charts if each.limit}
    assert charts | limits == {metric.name for metric in METRICS}
    assert not charts & limits


def test_a_line_a_device_with_the_shape_that_was_measured(scene: Scene) -> None:
    found = scene.curves(id=1)
    shown = chart(found, "gpu_utilisation_percent")
    assert [line[:2] for line in shown["lines"]] == [["n1", "gpu:0"], ["n1", "gpu:1"], ["n2", "gpu:0"], ["n2", "gpu:1"]]
    flat, rising = values(shown["lines"][0]), values(shown["lines"][3])
    assert {round(value or 0) for value in flat} == {90}
    half = rising[len(rising) // 2]
    assert half == pytest.approx(50, abs=2) and (rising[-1] or 0) > 98


def test_what_there_was_is_a_limit_and_no_chart(scene: Scene) -> None:
    found = scene.curves(id=1)
    assert chart(found, "gpu_memory_used_bytes")["limits"] == [80 * 2**30]
    assert chart(found, "cpu_cores")["limits"] == [8]
    assert "cpus" not in {each["metric"] for group in found["groups"] for each in group["charts"]}


def test_a_closer_look_has_finer_points_and_a_later_one_fits_onto_the_first(scene: Scene) -> None:
    whole = chart(scene.curves(id=1, points=60), "cpu_cores")["lines"][0]
    close = chart(scene.curves(id=1, points=60, since=scene.run.start_s, until=scene.run.start_s + 300), "cpu_cores")
    assert close["lines"][0][3] < whole[3]
    step = whole[3]
    since = whole[2] + (len(whole[5]) - 4) * step
    until = scene.site.now_s
    points = -(-int(until - since) // int(step)) + 1
    later = chart(scene.curves(id=1, points=points, since=since, until=until), "cpu_cores")["lines"][0]
    assert later[3] == step
    assert (later[2] - whole[2]) % step == 0


def test_only_what_was_opened_is_read(scene: Scene) -> None:
    assert [group["name"] for group in scene.curves(id=1, groups=["cpu"])["groups"]] == ["cpu"]


@pytest.mark.parametrize(
    "args",
    [
        {"groups": ["no-such"]}, {"groups": "cpu"}, {"since": "now"}, {"until": True}, {"nodes": "n1"},
        {"nodes": ["n"] * 100}, {"points": 1.5}, {"id": "1"}, {"since": -1},
    ],
)  # fmt: skip
def test_a_question_the_page_does_not_ask_is_refused(scene: Scene, args: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        scene.curves(**{"id": 1, **args})


def test_a_job_of_another_and_one_that_is_not_are_refused_alike(scene: Scene) -> None:
    words = []
    for job_id in (1, 77):
        for ask in (page.show, page.measured, page.judged):
            with pytest.raises(Refused) as refused:
                ask(scene.desk(BOB).services, BOB, {"id": job_id, "groups": ALL})
            words.append(str(refused.value).replace(str(job_id), "N"))
    assert len(set(words)) == 1


def test_who_runs_the_cluster_and_who_coordinates_see_it_without_its_papers(scene: Scene) -> None:
    for viewer in (OPERATOR, COORDINATOR):
        found = page.show(scene.desk(viewer).services, viewer, {"id": 1})
        assert (found["may_read"], found["own"]) == (False, False)
        assert scene.curves(viewer, id=1)["devices"]
    assert page.show(scene.desk().services, ADA, {"id": 1})["may_read"]


def asked_of(world: World, job_id: int, viewer: Any = ADA) -> dict[str, Any]:
    found = page.show(Desk(world, viewer).services, viewer, {"id": job_id})["asked"]
    return {name: value for name, value in found.items() if value}


def test_what_a_running_job_asked_for_is_what_the_accounts_or_its_session_say(tmp_path: Path) -> None:
    session = "sabcdefgh"
    plain = job(5)
    world = World(tmp_path, jobs=[job(4, name=f"carme-{session}", nodes=2), plain, job(6, state="PENDING", nodes=3)])
    request = LaunchRequest(app="jupyterlab", gpus=1, nodes=2, cpus=4, memory_mb=8192)
    session_row(world, session, job_id=4, request=request.to_dict())
    assert asked_of(world, 4) == {"cpus": 8, "mem_mb": 16384, "gpus": 2, "nodes": 2}
    assert asked_of(world, 5).keys() == {"why"}
    assert asked_of(world, 6) == {"cpus": 4, "mem_mb": 4096, "nodes": 3}
    tres = "cpu=6,gres/gpu=1,mem=9G,node=1"
    begun = {"state": "RUNNING", "end_s": None, "start_s": int(time.time()) - 300}
    keep(world, past(5, submit_s=plain["submit_s"], req_cpus=6, req_mem_mb=9216, req_tres=tres, **begun))
    assert asked_of(world, 5) == {"cpus": 6, "mem_mb": 9216, "gpus": 1, "nodes": 1, "tres": tres}


@pytest.mark.parametrize(
    ("tres", "nodes"), [("cpu=8,node=2", 2), ("node=3", 3), ("gres/node=4,cpu=1", None), ("", None)]
)
def test_the_nodes_that_were_asked_for_stand_in_the_list(tres: str, nodes: int | None) -> None:
    assert nodes_of(tres) == nodes


def test_each_attempt_has_its_own_curves(scene: Scene) -> None:
    shown = page.show(scene.desk().services, ADA, {"id": 9})
    assert [each["state"] for each in shown["attempts"]] == ["COMPLETED", "REQUEUED"]
    first = scene.curves(id=9, run=shown["attempts"][1]["start_s"])
    assert first["run"][0] == shown["attempts"][1]["start_s"]
    assert scene.curves(id=9)["run"][0] == shown["attempts"][0]["start_s"]


def test_why_nothing_was_measured_is_said(scene: Scene) -> None:
    assert "has not started" in scene.curves(id=3)["absent"]
    assert "10 s, too short" in scene.curves(id=9)["absent"]
    assert (
        "No agent measured it on a1"
        in scene.curves(id=9, run=page.show(scene.desk().services, ADA, {"id": 9})["runs"][1][0])["absent"]
    )
    assert "Nothing was measured yet" in scene.curves(BOB, id=2)["absent"]


def test_telemetry_that_can_not_be_read_is_an_answer_with_its_reason(scene: Scene) -> None:
    class Away:
        state = TelemetryState(None, error="the folder is gone", error_since_s=1.0)

        def devices(self, _job: JobRef) -> None:
            raise TelemetryUnusable("the folder is gone")

        footprints = devices

    desk = scene.desk(telemetry=Away())
    found = json.loads(page.measured(desk.services, ADA, {"id": 1, "groups": ALL}))
    assert "the folder is gone" in found["absent"]
    assert page.judged(desk.services, ADA, {"id": 1})["verdicts"] == []


@pytest.mark.parametrize(
    ("run", "state", "words"),
    [
        (None, TelemetryState(1.0), "never started"),
        (JobRef("c", 1, 100, 500), TelemetryState(9.0, error="no disk", error_since_s=5.0), "since at 5: no disk"),
        (JobRef("c", 1, 100, 500), TelemetryState(900.0, oldest_s=600.0), "oldest that is left is from at 600"),
        (JobRef("c", 1, 100, 500), TelemetryState(None), "No agent has reported"),
        (JobRef("c", 1, 100), TelemetryState(50.0), "Nothing has come in since at 50"),
        (JobRef("c", 1, 100), TelemetryState(500.0), "yet on n1"),
        (JobRef("c", 1, 100, 500), TelemetryState(900.0, oldest_s=1.0), "No agent measured it on n1"),
    ],
)
def test_the_first_reason_that_explains_it_counts(run: JobRef | None, state: TelemetryState, words: str) -> None:
    said = why_absent(run, state, node_list="n1", waits=False, clock=lambda at_s: f"at {at_s:.0f}")
    assert words in said and said.endswith((".", "disk"))


def test_how_long_it_is_kept_is_said() -> None:
    state = TelemetryState(90 * 86400.0, oldest_s=0.0)
    old, young = JobRef("c", 1, 100, 10 * 86400), JobRef("c", 1, 100, 80 * 86400)
    said = [why_absent(run, state, node_list="", waits=False, clock=str, kept_days=30) for run in (old, young)]
    assert ["kept for 30 days" in words for words in said] == [True, False]


def test_the_verdict_comes_with_the_row_it_was_made_from(scene: Scene) -> None:
    found = page.judged(scene.desk().services, ADA, {"id": 1})
    assert found["footprint"]["gpus"] == 4
    assert all(set(each) == {"rule", "level", "fact", "why", "change", "saves"} for each in found["verdicts"])
    assert page.judged(scene.desk().services, ADA, {"id": 3}) == {"verdicts": [], "footprint": None}


async def test_an_action_reaches_the_scheduler_and_its_refusal_the_person(scene: Scene) -> None:
    desk = scene.desk()
    await page.act_action(desk, {"id": 1, "do": "extend", "time_s": 600})
    assert desk.launcher.calls == [("ada", "update", {"job_id": "1", "time_s": 600})]
    desk.launcher.error = LauncherError("refused", "Requested operation not supported")
    with pytest.raises(Refused, match="Requested operation not supported"):
        await page.act_action(desk, {"id": 1, "do": "requeue"})
    for wrong in ("sleep", "", "update"):
        with pytest.raises(Refused):
            await page.act_action(desk, {"id": 1, "do": wrong})


async def test_papers_are_shown_to_their_owner_alone(scene: Scene) -> None:
    desk = scene.desk()
    desk.launcher.answer = {"text": "epoch 1", "path": "/home/ada/o", "size_bytes": 7, "note": ""}
    assert (await page.log_action(desk, {"id": 1, "which": "out"}))["text"] == "epoch 1"
    desk.launcher.error = LauncherError("not_found", "Slurm doesn't keep the script of this job.")
    assert "doesn't keep" in (await page.script_action(desk, {"id": 1, "kind": "script"}))["note"]
    other = scene.desk(OPERATOR)
    with pytest.raises(Refused, match="owner alone"):
        await page.log_action(other, {"id": 1, "which": "out"})
    assert other.launcher.calls == []


finite = st.floats(0, 1e15, allow_nan=False)


@given(
    st.lists(
        st.tuples(st.integers(0, 400), finite, finite, finite), min_size=1, max_size=60, unique_by=lambda each: each[0]
    ),
    st.sampled_from([1.0, 10.0, 60.0]),
)
def test_what_is_packed_is_what_was_measured_to_a_ten_thousandth_and_gaps_stay_gaps(
    points: list[tuple[int, float, float, float]], step: float
) -> None:
    points.sort()
    lows, means, highs = (tuple(sorted(each[1:])[place] for each in points) for place in range(3))
    times = tuple(1000.0 + place * step for place, *_ in points)
    line = packed(Series("n", "gpu:0", "gpu_power_w", step, times, means, lows, highs), band=True)
    assert json.loads(json.dumps(line, allow_nan=False)) == line
    read = values(line)
    room = (max(highs) or 1.0) / PARTS
    there = {place - points[0][0] for place, *_ in points}
    assert {at for at, value in enumerate(read) if value is not None} == there
    for (place, *_), mean in zip(points, means, strict=True):
        assert abs((read[place - points[0][0]] or 0) - mean) <= room


@given(st.integers(1, 5000), st.integers(0, 5000), st.integers(1, 50))
def test_many_curves_get_fewer_points_and_never_more_than_asked(wanted: int, devices: int, charts: int) -> None:
    assert 1 <= points_for(wanted, devices, charts) <= wanted
