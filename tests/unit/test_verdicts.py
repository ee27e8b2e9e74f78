"""Every shipped rule: a job that it speaks of, and one just below that it doesn't; and how a site's rules are read."""

from __future__ import annotations

import contextlib
import math
import re
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.accounting.warehouse import Warehouse
from backend.services import open_services
from backend.telemetry import FOOTPRINTS
from backend.telemetry.verdicts import Rulebook, RulesUnusable, job_facts, judge, similar_failures
from backend.telemetry.verdicts.conditions import BadCondition, read_condition
from backend.telemetry.verdicts.facts import FACTS, facts_of, memory_step
from backend.telemetry.verdicts.rulebook import LEVELS, shipped, vocabulary
from backend.telemetry.verdicts.wording import BadWording, read_sentence, shown_as
from config import load_settings
from tests.unit.verdict_kit import GB, HOUR, asked, asked_gpus, footprint, gpu_footprint
from tests.unit.warehouse_kit import T0, job, put

DOCS = Path(__file__).resolve().parents[2] / "docs/verdicts.md"
Facts = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A job the rule speaks of; `below`: changes of (footprint, job) by which it just doesn't; what it says."""

    footprint: Facts
    job: Facts
    below: tuple[Facts, Facts]
    change: str = ""
    saves: str = ""


EIGHT_GPU_HOURS = 8.0 * HOUR
CASES: dict[str, Case] = {
    "gpu-idle": Case(
        gpu_footprint(gpu_idle_s=0.9 * EIGHT_GPU_HOURS, gpus_used=1), asked_gpus(),
        ({"gpu_idle_s": 0.899 * EIGHT_GPU_HOURS}, {}), saves="7.2 GPU-hours",
    ),
    "gpu-count": Case(
        gpu_footprint(gpus_used=1, gpu_idle_s=0.55 * EIGHT_GPU_HOURS), asked_gpus(),
        ({"gpus_used": 2}, {}), "--gpus=1", "4.0 GPU-hours; jobs for fewer GPUs start sooner",
    ),
    "gpu-mostly-idle": Case(
        gpu_footprint(gpu_idle_s=0.5 * EIGHT_GPU_HOURS), asked_gpus(),
        ({"gpu_idle_s": 0.499 * EIGHT_GPU_HOURS}, {}), saves="Up to 4.0 GPU-hours",
    ),
    "loader-workers": Case(
        gpu_footprint(gpu_waits_share=0.3), asked_gpus(),
        ({"gpu_waits_share": 0.29}, {}), "`num_workers=4` in the DataLoader (for each GPU), with `pin_memory=True`",
        "Up to 2.4 GPU-hours",
    ),
    "loader-cpus": Case(
        gpu_footprint(gpu_waits_share=0.3, cpu_cores_mean=4.8), asked_gpus(), ({"cpu_cores_mean": 4.7}, {}),
        "Twice the CPUs: 16 instead of 8 in all (`--cpus-per-task`), and as many loader processes; or prepare the data "
        "once beforehand", "Up to 2.4 GPU-hours",
    ),
    "gpu-memory-tiny": Case(
        gpu_footprint(gpu_memory_peak_bytes=7 * GB), asked_gpus(), ({"gpu_memory_peak_bytes": 8 * GB}, {}),
        "Enlarge the batch, or ask for a smaller GPU model",
    ),
    "gpu-uneven": Case(
        gpu_footprint(gpu_percent_by_device=[24.9, 50.0]), asked_gpus(),
        ({"gpu_percent_by_device": [25.0, 50.0]}, {}),
        "Give each GPU the same share of the data (a DistributedSampler, one process for each GPU)",
    ),
    "gpu-throttled": Case(
        gpu_footprint(gpu_throttled_share=0.1), asked_gpus(), ({"gpu_throttled_share": 0.09}, {}),
        "Tell those who run the cluster this job's number", "0.8 GPU-hours ran slower",
    ),
    "out-of-memory": Case(
        footprint(oom_kills=1), asked(state="FAILED"), ({"oom_kills": 0}, {}),
        "--mem=48G", "32.0 CPU-hours were spent on this attempt",
    ),
    "memory-near-limit": Case(
        footprint(memory_peak_bytes=int(30.5 * GB)), asked(), ({"memory_peak_bytes": int(30.3 * GB)}, {}), "--mem=38G",
    ),
    "memory-overasked": Case(
        footprint(memory_peak_bytes=16 * GB - 1), asked(), ({"memory_peak_bytes": 16 * GB}, {}),
        "--mem=20G", "12 GB for others (48.0 GB-hours); it fits on more nodes, so it starts sooner",
    ),
    "cpu-overasked": Case(
        footprint(cpu_cores_p95=3.9, cpu_cores_mean=1.5), asked(), ({"cpu_cores_p95": 4.0}, {}),
        "--cpus-per-task=5", "12.0 CPU-hours; it fits on more nodes, so it starts sooner",
    ),
    "threads-oversubscribed": Case(
        footprint(threads_max=32, cpu_cores_mean=7.5), asked(), ({"threads_max": 31}, {}),
        "`OMP_NUM_THREADS=8` (and MKL_NUM_THREADS, OPENBLAS_NUM_THREADS), divided by the processes on a node",
    ),
    "node-unused": Case(
        footprint(nodes=2, cpus=16, cpu_node_low=0.019, cpu_node_high=0.5), asked(nodes=2, cpus=16),
        ({"cpu_node_low": 0.02}, {}), "`--nodes=1`, or start the program by `srun`", "15.4 CPU-hours of the idle node",
    ),
    "nodes-uneven": Case(
        footprint(nodes=2, cpus=16, cpu_node_low=0.24, cpu_node_high=0.5), asked(nodes=2, cpus=16),
        ({"cpu_node_low": 0.25}, {}),
        "The same work for each node: `srun --ntasks-per-node`, and data in equal parts",
        "Up to 8.3 CPU-hours of the least busy node",
    ),
    "time-overasked": Case(
        footprint(), asked(time_limit_s=4 * 4 * HOUR + 60), ({}, {"time_limit_s": 4 * 4 * HOUR}),
        "--time=05:00:00", "A gap that is 11 h 1 min shorter is enough for it",
    ),
    "time-out": Case(
        footprint(), asked(state="TIMEOUT", elapsed_s=8 * HOUR), ({}, {"state": "COMPLETED"}),
        "`--time=12:00:00`, or write checkpoints and go on from the last", "64.0 CPU-hours were spent on this attempt",
    ),
    "failed-early": Case(
        {}, asked(state="FAILED", elapsed_s=20, similar_failures=2, exit_status=1), ({}, {"similar_failures": 1}),
        "Read the end of its log, and try the script in a session or with `--time=00:10:00` before sending it again",
    ),
    "gpu-well-used": Case(gpu_footprint(gpu_percent_mean=70.0), asked_gpus(), ({"gpu_percent_mean": 69.9}, {})),
    "cpu-well-used": Case(footprint(cpu_cores_mean=5.6), asked(), ({"cpu_cores_mean": 5.59}, {})),
    "fits": Case(footprint(), asked(), ({"samples": 29}, {})),
}  # fmt: skip


def test_every_shipped_rule_has_a_case() -> None:
    assert set(CASES) == {rule.id for rule in shipped().rules}


@pytest.mark.parametrize("name", CASES)
def test_a_rule_speaks_of_its_job_and_not_of_one_just_below(name: str) -> None:
    case = CASES[name]
    (found,) = [each for each in judge(case.footprint, case.job) if each.rule == name]
    assert re.search(r"\d|Nothing stands out", found.fact)
    assert "{" not in found.fact + found.change + found.saves
    if found.level != "good":
        assert (found.change, found.saves) == (case.change or found.change, case.saves)
        assert found.change and found.why
    less, other = case.below
    assert name not in {each.rule for each in judge(case.footprint | less, case.job | other)}


@pytest.mark.parametrize("rule", [rule for rule in shipped().rules if rule.min_samples], ids=lambda rule: rule.id)
def test_with_one_sample_too_few_it_is_too_early_to_say(rule: Any) -> None:
    case = CASES[rule.id]
    few = case.footprint | {"samples": rule.min_samples - 1}
    assert rule.id not in {each.rule for each in judge(few, case.job)}
    if rule.min_elapsed_s:
        short = case.job | {"elapsed_s": rule.min_elapsed_s - 1, "time_limit_s": None}
        assert rule.id not in {each.rule for each in judge(case.footprint, short)}


def test_a_young_job_is_told_so_in_one_sentence() -> None:
    (said,) = judge(gpu_footprint(samples=8, gpu_idle_s=EIGHT_GPU_HOURS), asked_gpus(elapsed_s=80, state="RUNNING"))
    assert (said.rule, said.level) == ("too-early", "note")
    assert said.fact == "Too early to say: 8 looks at the job in 1 min."


def test_a_job_that_was_soon_over_was_too_short() -> None:
    (said,) = judge(gpu_footprint(samples=8, gpu_idle_s=EIGHT_GPU_HOURS), asked_gpus(elapsed_s=80, state="FAILED"))
    assert said.fact == "Too short to say: 8 looks at the job in 1 min."


def test_what_ended_a_young_job_is_said_all_the_same() -> None:
    (said,) = judge(footprint(samples=2, oom_kills=1), asked(elapsed_s=20, state="OUT_OF_MEMORY"))
    assert said.rule == "out-of-memory"


def test_nothing_is_said_of_a_job_that_nobody_measured() -> None:
    assert judge({}, asked_gpus()) == []


def test_of_an_unmeasured_job_its_time_can_still_be_judged() -> None:
    (said,) = judge({}, asked(elapsed_s=HOUR, time_limit_s=24 * HOUR))
    assert said.fact == "It was done after 1 h of 24 h (4 %)."
    assert said.change == "--time=01:15:00"


def test_the_worst_is_said_first_and_a_good_word_only_alone() -> None:
    said = judge(gpu_footprint(gpu_percent_mean=80.0, memory_peak_bytes=2 * GB), asked_gpus(time_limit_s=90 * HOUR))
    assert [each.level for each in said] == ["warn", "note"]


def test_an_idle_gpu_is_not_told_of_its_small_memory_too() -> None:
    idle = gpu_footprint(gpu_idle_s=EIGHT_GPU_HOURS, gpus_used=0, gpu_percent_mean=0.0, gpu_memory_peak_bytes=GB)
    assert [each.rule for each in judge(idle, asked_gpus())] == ["gpu-idle"]


# -- facts ---------------------------------------------------------------------------------------------------


def test_without_a_limit_of_the_cgroup_the_nodes_part_of_what_the_job_was_given_counts() -> None:
    facts = facts_of(footprint(memory_limit_bytes=None), asked(nodes=2, mem_mb=64 * 1024))
    assert facts["memory_given_bytes"] == 32 * GB


@pytest.mark.parametrize(("given", "step"), [(1, 1), (9.1, 10), (20.5, 22), (65, 72), (300, 320)])
def test_memory_is_suggested_in_sizes_people_ask_for(given: float, step: int) -> None:
    assert memory_step(given * GB) == step * GB


@pytest.mark.parametrize(
    ("unit", "value", "shown"),
    [("share", 0.004, "0.4 %"), ("share", 0.999, "99 %"), ("bytes", 9.2 * GB, "9.2 GB"), ("bytes", 2**28, "256 MB"),
     ("sbatch-time", 129600, "1-12:00:00"), ("sbatch-memory", 16 * GB, "16G"), ("hours", 1234.5, "1,234")],
)  # fmt: skip
def test_a_fact_is_written_by_its_unit(unit: str, value: float, shown: str) -> None:
    assert shown_as(unit, value) == shown


_whole = st.one_of(st.none(), st.integers(0, 10**18))
_real = st.one_of(_whole, st.floats(0, 1e18), st.just(math.nan))
_columns = {
    field.name: st.one_of(st.none(), st.lists(_real, max_size=4)) if pa.types.is_list(field.type)
    else st.one_of(st.none(), st.text(max_size=5)) if pa.types.is_string(field.type)
    else _whole if pa.types.is_integer(field.type) else _real
    for field in FOOTPRINTS
}  # fmt: skip
_texts = ("state", "partition", "gpu_type")


@given(
    st.fixed_dictionaries({}, optional=_columns),
    st.fixed_dictionaries({}, optional={name: _whole for name in asked() if name not in _texts}),
)
def test_no_footprint_whatever_is_in_it_stops_the_rules(row: Facts, job_row: Facts) -> None:
    for said in judge(row, asked() | job_row):
        assert said.level in LEVELS and said.fact


# -- rules of the site ---------------------------------------------------------------------------------------


def site(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "rules.toml"
    file.write_text(text)
    return file


def test_a_site_changes_a_shipped_rule_key_by_key(tmp_path: Path) -> None:
    book = Rulebook(site(tmp_path, '[[rule]]\nid = "gpu-idle"\nwhen = ["gpu_idle_share >= 0.05"]\n'))
    said = book.judge(gpu_footprint(), asked_gpus())
    assert [each.rule for each in said] == ["gpu-idle"]


def test_a_site_silences_a_rule_and_adds_its_own(tmp_path: Path) -> None:
    text = """
        [[rule]]
        id = "time-overasked"
        off = true
        [[rule]]
        id = "big-partition"
        level = "note"
        when = ['partition == "batch"', "nodes < 2"]
        fact = "It ran on {nodes:node} of the partition {partition}."
        why = "That partition is for larger jobs."
    """
    said = Rulebook(site(tmp_path, text)).judge(footprint(), asked(time_limit_s=90 * HOUR))
    assert [(each.rule, each.fact) for each in said] == [("big-partition", "It ran on 1 node of the partition batch.")]


OWN = '[[rule]]\nid = "own"\nlevel = "note"\nwhy = "So."\nfact = "It is so."\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rule = 3", "rules are written as [[rule]]"),
        ("[[rule]\n", "is no TOML file"),
        ('[[rules]]\nid = "x"', "'rules' is unknown"),
        ('[[rule]]\nlevel = "note"', "rule 1: id"),
        (OWN, "rule own: when: a list of conditions is wanted"),
        (OWN + "when = []\n" + OWN + "when = []", "rule own: there are two of this id"),
        (OWN + 'when = ["gpu_idel >= 1"]', "there is no fact 'gpu_idel'"),
        (OWN + 'when = ["state >= 3"]', "state is a text"),
        (OWN + 'when = ["gpus == \\"two\\""]', "gpus is a number"),
        (OWN + 'when = ["state > \\"A\\""]', "compared by == or !="),
        (OWN + "when = [3]", "when: a text, or a list of them"),
        (OWN + 'when = ["__import__(\\"os\\").system(\\"id\\")"]', "is no comparison"),
        (OWN + 'when = []\nmin_samples = "many"', "min_samples: a whole number"),
        (OWN + "when = []\nmin_samples = -1", "min_samples: a whole number"),
        (OWN + "when = []\noff = 1", "off: true or false"),
        (OWN + "when = []\ncolour = 1", "'colour' is unknown"),
        (OWN + 'when = []\nchange = "--mem={memory}"', "there is no fact 'memory'"),
        (OWN + 'when = []\nchange = "{gpus!r}"', "{gpus!r} is no fact"),
        (OWN + 'when = []\nchange = "{gpus"', "a brace has no partner"),
        (OWN + 'when = []\nchange = "{cpu_share:CPU}"', "only a count has a noun"),
        (OWN + 'when = []\nhides = ["nobody"]', "there is no rule 'nobody'"),
        ('[[rule]]\nid = "own"\nlevel = "awful"\nwhen = []', "level: one of good, note, warn, bad"),
        ('[[rule]]\nid = "own"\nlevel = "bad"\nwhen = []\nwhy = "w"', "rule own: fact"),
        ('[[rule]]\nid = "too-early"', "the console's own"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    file = site(tmp_path, text)
    with pytest.raises(RulesUnusable) as raised:
        Rulebook(file)
    assert str(file) in str(raised.value)
    assert words in str(raised.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RulesUnusable, match=r"telemetry\.rules_file"):
        Rulebook(tmp_path / "none.toml")


@given(st.text(max_size=60))
def test_any_text_is_read_as_a_condition_or_refused(text: str) -> None:
    with contextlib.suppress(BadCondition):
        read_condition(text).holds({})


@given(st.text(max_size=60))
def test_any_text_is_read_as_a_sentence_or_refused(text: str) -> None:
    with contextlib.suppress(BadWording):
        read_sentence(text).said(dict.fromkeys(FACTS, 1))


def test_an_unknown_fact_holds_no_condition() -> None:
    assert not read_condition('state != "FAILED"').holds({})
    assert not read_condition("gpus < 2 * cpus").holds({"gpus": 1, "cpus": None})


def test_or_parts_alternatives_but_not_within_a_text() -> None:
    condition = read_condition('partition == "this or that" or gpus > 2')
    assert condition.holds({"partition": "this or that"}) and condition.holds({"gpus": 3})


# -- the job -------------------------------------------------------------------------------------------------


def test_a_running_jobs_time_is_until_now_not_until_its_limit() -> None:
    row = {"state": "RUNNING", "start_s": 1000, "end_s": 90_000, "memory_mb": 512, "exit_code": ""}
    facts = job_facts(row, now_s=1600.0)
    assert (facts["elapsed_s"], facts["mem_mb"], facts["exit_status"]) == (600, 512, None)


def test_a_job_that_waits_has_no_time() -> None:
    assert job_facts({"state": "PENDING", "start_s": 1000, "start_expected": True, "end_s": None})["elapsed_s"] is None


def test_early_failures_of_the_same_person_and_name_are_counted_an_array_once(tmp_path: Path) -> None:
    failed = {"state": "FAILED", "exit_status": 1}
    array = {"array_job_id": 30, "array_task_id": 1}
    now = job(99, T0 + 50_000, **failed)
    put(
        tmp_path,
        job(1, T0, **failed), job(2, T0 + 200, **failed), job(30, T0 + 400, **failed, **array),
        job(31, T0 + 401, **failed, **array),
        job(4, T0 + 600), job(5, T0 + 700, **failed, uid=1002, user="bob"),
        job(6, T0 + 800, **failed, job_name="other"),
        job(7, T0 + 900, **failed, end_s=T0 + 900 + 2000), job(8, T0 - 9 * 86400, **failed), now,
    )  # fmt: skip
    warehouse = Warehouse(tmp_path, memory_mb=256)
    try:
        assert similar_failures(warehouse, now) == 3
        assert similar_failures(warehouse, job(31, T0 + 401, **array)) == 2
    finally:
        warehouse.close()


# -- the documentation ---------------------------------------------------------------------------------------


def test_the_documentation_has_every_rule_as_it_is_shipped() -> None:
    text = DOCS.read_text()
    for rule in shipped().rules:
        line = next((each for each in text.splitlines() if each.startswith(f"| `{rule.id}` | {rule.level} |")), "")
        assert line, rule.id
        for condition in _written(rule.id)["when"]:
            assert f"`{condition}`".replace("|", "\\|") in line, (rule.id, condition)


def test_the_documentation_has_every_fact() -> None:
    assert vocabulary() in DOCS.read_text()


def _written(name: str) -> dict[str, Any]:
    document = tomllib.loads((files("backend.telemetry.verdicts") / "rules.toml").read_text())
    return next(rule for rule in document["rule"] if rule["id"] == name)


def test_a_console_does_not_start_with_rules_that_make_no_sense(tmp_path: Path) -> None:
    file = site(tmp_path, OWN + 'when = ["gpu_idel >= 1"]')
    with pytest.raises(RulesUnusable, match="gpu_idel"):
        open_services(load_settings(None, {"CARME_DATA": str(tmp_path), "CARME_TELEMETRY__RULES_FILE": str(file)}))
