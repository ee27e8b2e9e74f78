"""Synthetic accounts to measure with: the same rows each time, of any number, in the order they were submitted.

About 500 people in about 60 accounts of a tree, 5 partitions, GPUs of two types; as on a real cluster a few people
have most of the jobs, they submit many that are alike, most jobs are short, some wait for days, one in five is of an
array, one in a hundred was requeued.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from backend.accounting.model import ACCOUNTS, JOBS

CLUSTER = "bench"
SINCE_S = 1_640_995_200  # 2022-01-01 UTC: the first submission
UNTIL_S = 1_767_225_600  # 2026-01-01 UTC: the last
PEOPLE = 500
FACULTIES, GROUPS = 8, 52
PARTITIONS = ("short", "long", "bigmem", "gpu", "gpu-long")
STATES = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "PREEMPTED")
STATE_SHARES = (0.82, 0.08, 0.05, 0.035, 0.01, 0.002, 0.003)
CHUNK = 100_000
JOBS_OF_A_CAMPAIGN = 100

Ints = npt.NDArray[np.int64]


def account_names() -> list[str]:
    """The accounts jobs are charged to."""
    return [f"group{n:02d}" for n in range(GROUPS)]


def accounts() -> pa.Table:
    """The tree of accounts: root, faculties, groups. Schema ACCOUNTS."""
    rows = [("root", None), *((f"faculty{n}", "root") for n in range(FACULTIES))]
    rows += [(name, f"faculty{n % FACULTIES}") for n, name in enumerate(account_names())]
    return pa.table(
        {
            "name": [name for name, _ in rows],
            "parent": [parent for _, parent in rows],
            "description": [f"The {name}" for name, _ in rows],
            "organization": ["university"] * len(rows),
            "deleted": [False] * len(rows),
            "coordinators": [[f"user{n:03d}"] if n % 3 == 0 else [] for n in range(len(rows))],
        },
        schema=ACCOUNTS,
    )


def job_tables(rows: int, *, seed: int = 1, chunk: int = CHUNK, cluster: str = CLUSTER) -> Iterator[pa.Table]:
    """`rows` ended attempts from SINCE_S to UNTIL_S, schema JOBS, some ten thousand at a time."""
    for first in range(0, rows, chunk):
        count = min(chunk, rows - first)
        span = (UNTIL_S - SINCE_S) / rows
        window = (SINCE_S + int(first * span), SINCE_S + int((first + count) * span))
        yield jobs_between(*window, count, first_id=1_000_000 + first, seed=seed + first, cluster=cluster)


def jobs_between(
    since_s: int, until_s: int, rows: int, *, first_id: int, seed: int, cluster: str = CLUSTER
) -> pa.Table:
    """`rows` ended attempts submitted in [since_s, until_s), schema JOBS; job ids from `first_id` on."""
    draw = np.random.default_rng(seed)
    submit = np.sort(draw.integers(since_s, max(until_s, since_s + 1), rows))
    # People work in campaigns: some hundred jobs alike, over a day or so. A few campaigns go on at any time.
    campaigns = max(8, rows // JOBS_OF_A_CAMPAIGN)
    each = np.minimum((np.arange(rows) / rows * campaigns + draw.normal(0, 4, rows)).astype(np.int64), campaigns - 1)
    each = np.maximum(each, 0)

    def alike(values: npt.NDArray[np.generic]) -> npt.NDArray[Any]:
        return values[each]

    person = alike(np.minimum(draw.pareto(0.9, campaigns) * 12, PEOPLE - 1).astype(np.int64))
    group = (person * 7 + alike(draw.random(campaigns) < 0.15)) % GROUPS
    on_gpu = alike(draw.random(campaigns) < 0.2)
    partition = np.where(
        on_gpu, 3 + alike(draw.random(campaigns) < 0.3), np.minimum(alike(draw.integers(0, 10, campaigns)) // 4, 2)
    )
    eligible = submit + np.where(draw.random(rows) < 0.03, draw.integers(60, 86_400, rows), 0)
    start = eligible + np.minimum(draw.lognormal(5, 2.2, rows), 14 * 86_400).astype(np.int64)
    usual = alike(draw.lognormal(6.3, 2, campaigns))
    length = np.minimum(usual * draw.lognormal(0, 0.5, rows), 7 * 86_400).astype(np.int64)
    state = draw.choice(len(STATES), rows, p=STATE_SHARES)
    never = (state == 2) & (draw.random(rows) < 0.3)  # cancelled while pending
    limit = np.maximum(3600, (usual * alike(draw.choice([2, 4, 8], campaigns))).astype(np.int64) // 1800 * 1800)
    limit = np.maximum(limit, (length // 1800 + 1) * 1800)
    length = np.where(state == 3, limit + draw.integers(0, 30, rows), length)
    end = start + length
    gpus = np.where(on_gpu, alike(draw.choice([1, 2, 4, 8], campaigns, p=[0.7, 0.15, 0.1, 0.05])), 0)
    cpus = np.where(on_gpu, gpus * 16, alike(draw.choice([1, 2, 4, 8, 16, 32, 64, 128, 256], campaigns)))
    nodes = np.maximum(1, cpus // 64)
    mem = cpus * alike(draw.choice([2000, 4000, 8000], campaigns))
    gpu_type = alike(np.where(draw.random(campaigns) < 0.6, 0, 1))
    used = length * cpus * draw.beta(4, 2, rows)
    ids = first_id + np.arange(rows)
    array_task = np.where(draw.random(rows) < 0.2, np.arange(rows) % 50, -1)
    requeued = (np.arange(rows) % 100 == 99) & ~never & (submit != np.append(submit[1:], -1))
    ids[1:] = np.where(requeued[:-1], ids[:-1], ids[1:])  # the row after it is its next attempt
    for values in (person, group):
        values[1:] = np.where(requeued[:-1], values[:-1], values[1:])
    again = np.flatnonzero(requeued[:-1])
    end[again] = np.minimum(end[again], np.maximum(submit[again + 1], start[again]))
    state_names = np.array(STATES, object)[state]
    state_names[again] = "REQUEUED"
    kinds = np.array(["a100", "h100"], object)[gpu_type]
    tres = _tres(cpus, mem, nodes, gpus, kinds)
    node = draw.integers(1, 400, rows)
    width = np.char.zfill(node.astype(str), 3)
    ends = np.char.zfill((node + nodes - 1).astype(str), 3)
    names = np.char.add(np.array(["train", "relax", "align", "sweep", "bash", "mesh"])[person % 6], "-")
    names = np.char.add(names, alike(draw.integers(0, 40, campaigns)).astype(str))
    users = _named("user", person, 3)
    project = alike(draw.integers(0, 5, campaigns)).astype(str)
    home = _joined("/home/", users, "/project", project)
    columns = {
        "cluster": np.full(rows, cluster, object),
        "job_id": ids,
        "submit_s": submit,
        "origin_s": submit,
        "attempt": np.ones(rows, np.int32),
        "last_attempt": np.ones(rows, bool),
        "eligible_s": eligible,
        "start_s": _or_null(start, never),
        "end_s": end,
        "suspended_s": np.zeros(rows, np.int64),
        "state": state_names,
        "user": users,
        "uid": 20_000 + person,
        "group": _named("group", group, 2),
        "account": _named("group", group, 2),
        "assoc_id": person * 100 + group,
        "partition": np.array(PARTITIONS, object)[partition],
        "qos": np.array(["normal", "high", "low"], object)[(person + partition) % 3],
        "job_name": names,
        "nodes": np.where(never, 0, nodes),
        "cpus": np.where(never, 0, cpus),
        "mem_mb": np.where(never, 0, mem),
        "gpus": np.where(never, 0, gpus),
        "gpu_type": _or_null(kinds, never | (gpus == 0)),
        "billing": np.where(never, 0, cpus + 40 * gpus),
        "energy_j": _or_null((length * cpus * 6.5).astype(np.int64), never | (draw.random(rows) < 0.5)),
        "tres": np.where(never, "", tres),
        "req_tres": tres,
        "req_cpus": cpus,
        "req_mem_mb": mem,
        "req_gpus": gpus,
        "time_limit_s": limit,
        "exit_status": np.where(state == 1, 1, 0),
        "exit_signal": np.where(state == 4, 9, 0),
        "node_list": np.where(
            never,
            "",
            np.where(nodes == 1, _joined("cn", width), _joined("cn[", width, "-", ends, "]")),
        ),
        "array_job_id": _or_null(first_id + np.arange(rows) // 50 * 50, array_task < 0),
        "array_task_id": _or_null(array_task, array_task < 0),
        "array_pending": np.zeros(rows, np.int32),
        "cpu_used_s": _or_null(np.round(used, 2), never),
        "mem_peak_mb": _or_null((mem * draw.beta(2, 3, rows)).astype(np.int64), never),
        "work_dir": home,
        "reason": np.array(["None", "Priority", "Resources"], object)[draw.integers(0, 3, rows)],
        "app": np.where(draw.random(rows) < 0.01, "jupyterlab", None),
        "db_inx": (first_id + np.arange(rows)).astype(np.uint64),
        "source": np.full(rows, "slurmdbd", object),
        "gone": np.zeros(rows, bool),
    }
    arrays = []
    for field in JOBS:
        values = columns.get(field.name)
        if values is None:
            arrays.append(pa.nulls(rows, field.type))
        elif isinstance(values, pa.Array):
            arrays.append(values.cast(field.type))
        elif pa.types.is_dictionary(field.type):
            arrays.append(pa.array(values, pa.string()).dictionary_encode())
        else:
            arrays.append(pa.array(values, field.type))
    return pa.table(arrays, schema=JOBS)


def _named(stem: str, number: Ints, width: int) -> npt.NDArray[np.str_]:
    return np.char.add(stem, np.char.zfill(number.astype(str), width))


def _joined(*parts: str | npt.NDArray[np.str_]) -> npt.NDArray[np.str_]:
    text = np.asarray(parts[0])
    for part in parts[1:]:
        text = np.char.add(text, part)
    return text


def _or_null(values: npt.NDArray[np.generic], null: npt.NDArray[np.bool_]) -> pa.Array:
    return pa.array(values, mask=null)


def _tres(cpus: Ints, mem: Ints, nodes: Ints, gpus: Ints, kinds: npt.NDArray[np.object_]) -> npt.NDArray[np.str_]:
    text = _joined("billing=", (cpus + 40 * gpus).astype(str), ",cpu=", cpus.astype(str))
    gpu = _joined(",gres/gpu:", kinds.astype(str), "=", gpus.astype(str), ",gres/gpu=", gpus.astype(str))
    text = np.char.add(text, np.where(gpus > 0, gpu, ""))
    return _joined(text, ",mem=", mem.astype(str), "M,node=", nodes.astype(str))
