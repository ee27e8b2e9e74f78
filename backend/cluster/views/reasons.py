"""Why a job waits (or how it ended), in plain words, with the limit that bites and what counts against it now."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from backend.cluster.model import ENDED_STATES, Snapshot
from backend.cluster.slurm.text import tres
from backend.cluster.views.amounts import amount, as_duration
from backend.cluster.views.words import ENDED, STATE, WAITING

_HOLDING = pa.array(["RUNNING", "SUSPENDED"])
_LIMIT = re.compile(
    r"(?P<of>Assoc|QOS)?(?P<kind>Grp|Max|Min)"
    r"(?P<thing>CPU|Cpu|Memory|Mem|Node|GRES|License|Energy|BB|Billing|Unknown|SubmitJobs?|Jobs|WallDuration|Wall)"
    r"(?P<span>RunMinutes|Minutes)?(?P<per>PerJob|PerNode|PerUser|PerAccount)?(?P<rest>Limit|NotSatisfied)?\Z"
)
_TRES = {
    "cpu": "cpu",
    "mem": "mem",
    "memory": "mem",
    "node": "node",
    "energy": "energy",
    "billing": "billing",
}
_THINGS = {
    "cpu": "CPUs",
    "mem": "memory",
    "memory": "memory",
    "node": "nodes",
    "gres": "GPUs or other devices",
    "license": "licences",
    "energy": "energy",
    "bb": "burst buffer",
    "billing": "billing units",
    "unknown": "a resource",
}

Job = Mapping[str, Any]


def reason_in_words(job: Job, snapshot: Snapshot, *, own: bool = True) -> str:
    """One or two sentences, "" for a job that runs. `job` is a row of the snapshot's jobs; `own`: the reader's own.

    A reason nobody described yet is shown in Slurm's own word.
    """
    state, reason = job["state"], job["reason"] or ""
    if state in ENDED_STATES:
        return _ended(job, reason)
    if state != "PENDING":
        return ""
    word, _, detail = reason.partition(",")
    word, detail = word.strip(), detail.strip()
    limit = _LIMIT.match(word)
    if limit is not None:
        return _limit_words(limit, word, job, snapshot, own=own)
    special = _SPECIAL.get(word)
    if special is not None:
        return special(job, detail, snapshot)
    if reason.startswith("Nodes required for job are DOWN, DRAINED"):
        return (
            "The nodes that it needs are down, drained or kept for jobs of a higher partition."
            + _maintenance(job, snapshot)
        )
    if word in WAITING:
        return WAITING[word] + (f" ({detail})" if detail else "")
    return f"Slurm says: {reason}"


# -- reasons with facts of their own ------------------------------------------------------------------------------


def _ended(job: Job, reason: str) -> str:
    words = ENDED.get(reason) or STATE.get(job["state"], f"Slurm says: {job['state']}")
    status, _, signal = (job["exit_code"] or "").partition(":")
    if words.endswith("."):
        return words
    if signal not in ("", "0"):
        return f"{words} (signal {signal})."
    return f"{words} (exit code {status})." if status not in ("", "0") else f"{words}."


def _resources(job: Job, _detail: str, snapshot: Snapshot) -> str:
    wanted = [amount("node", job["nodes"])] if (job["nodes"] or 1) > 1 else []
    if job["gpus"]:
        wanted.append(amount(f"gres/gpu:{job['gpu_type']}" if job["gpu_type"] else "gres/gpu", job["gpus"]))
    else:
        wanted.append(amount("cpu", job["cpus"] or 1))
    return f"Next in line: it waits for {' with '.join(wanted)} to become free." + _maintenance(job, snapshot)


def _priority(job: Job, _detail: str, snapshot: Snapshot) -> str:
    jobs = snapshot.jobs.table
    names = set(job["partition"].split(","))
    same = [text for text in pc.unique(jobs["partition"]).to_pylist() if names & set(text.split(","))]
    ahead = pc.and_(
        pc.and_(
            pc.equal(jobs["state"], "PENDING"),
            pc.is_in(jobs["partition"], value_set=pa.array(same, pa.string())),
        ),
        pc.greater(jobs["priority"], job["priority"] or 0),
    )
    count = pc.sum(jobs.filter(ahead)["array_pending"]).as_py() or 0
    where = job["partition"].replace(",", " or ")
    if count == 0:
        return f"Other jobs go first in {where}."
    some = "1 job with a higher priority goes" if count == 1 else f"{count} jobs with a higher priority go"
    return f"{some} first in {where}."


def _unavailable(job: Job, detail: str, snapshot: Snapshot) -> str:
    nodes = detail.partition("UnavailableNodes:")[2].strip()
    more = _maintenance(job, snapshot)
    if nodes:
        return f"Nodes that it could use are not available now (down, drained or reserved): {nodes}.{more}"
    if detail.startswith("May be reserved"):
        return "Nodes that it could use are kept for a job that goes first, or for a reservation." + more
    return WAITING["ReqNodeNotAvail"] + more


def _dependency(job: Job, _detail: str, _snapshot: Snapshot) -> str:
    ids = re.findall(r"(?<=:)\d+(?:_\d+|_\*)?", job["dependency"] or "")
    shown = ", ".join(dict.fromkeys(ids[:5])) + (", …" if len(ids) > 5 else "")
    if not ids:
        return WAITING["Dependency"]
    return f"It waits for {'job' if len(ids) == 1 else 'jobs'} {shown} to finish first."


def _array(job: Job, _detail: str, _snapshot: Snapshot) -> str:
    at_once = (job["array_task_id"] or "").partition("%")[2]
    if not at_once.isdigit():
        return WAITING["JobArrayTaskLimit"]
    return f"The array was asked to run {at_once} {'task' if at_once == '1' else 'tasks'} at once; the rest wait."


def _partition_time(job: Job, _detail: str, snapshot: Snapshot) -> str:
    names = job["partition"].split(",")
    longest = [row["max_time_s"] for row in snapshot.partitions.rows() if row["name"] in names]
    if len(longest) != 1 or longest[0] is None or job["time_limit_s"] is None:
        return WAITING["PartitionTimeLimit"]
    return (
        f"It asks for {as_duration(job['time_limit_s'])}; partition {names[0]} allows {as_duration(longest[0])}."
        " It will not start as it is."
    )


def _reservation(job: Job, _detail: str, snapshot: Snapshot) -> str:
    for row in snapshot.reservations.rows():
        if (
            row["name"] == job["reservation"]
            and row["state"] != "ACTIVE"
            and row["start_s"]
            and _now(snapshot)
        ):
            return f"Its reservation {row['name']} begins in {as_duration(row['start_s'] - _now(snapshot))}."
    return WAITING["Reservation"]


def _now(snapshot: Snapshot) -> int:
    return int(snapshot.jobs.taken_s or 0)


def _maintenance(job: Job, snapshot: Snapshot) -> str:
    """What to do when a maintenance begins before the job could end."""
    now = _now(snapshot)
    members: set[str] = set()
    for row in snapshot.partitions.rows():
        if row["name"] in job["partition"].split(","):
            members.update(row["node_names"] or [])
    for row in snapshot.reservations.rows():
        begins = row["start_s"] or 0
        reaches = job["time_limit_s"] is None or now + job["time_limit_s"] > begins
        if (
            "MAINT" in row["flags"]
            and now
            and begins > now
            and reaches
            and members & set(row["node_names"] or [])
        ):
            return (
                f" Maintenance ({row['name']}) begins in {as_duration(begins - now)}:"
                " a shorter time limit may start sooner."
            )
    return ""


_SPECIAL = {
    "Resources": _resources,
    "Priority": _priority,
    "ReqNodeNotAvail": _unavailable,
    "Dependency": _dependency,
    "JobArrayTaskLimit": _array,
    "PartitionTimeLimit": _partition_time,
    "Reservation": _reservation,
}


# -- limits -------------------------------------------------------------------------------------------------------


def _limit_words(limit: re.Match[str], word: str, job: Job, snapshot: Snapshot, *, own: bool) -> str:
    thing, span, per = limit["thing"].lower(), limit["span"], limit["per"] or ""
    owner = limit["of"] or "QOS"  # MaxGRESPerAccount and its kind are of a QOS
    if span:
        return _time_budget(owner, thing, span, job)
    if thing in ("jobs", "submitjob", "submitjobs"):
        words = _count_words(owner, limit["kind"], per, "submit" in thing, job, snapshot, own=own)
    elif thing in ("wall", "wallduration"):
        words = _wall_words(owner, limit["kind"], job, snapshot)
    elif owner == "Assoc":
        words = _association_words(limit["kind"], per, thing, job, snapshot, own=own)
    else:
        words = _qos_words(limit["kind"], per, thing, job, snapshot, own=own)
    if words:
        return words
    whose = f"account {job['account']}" if owner == "Assoc" else f"QOS {job['qos']}"
    return f"A limit of {whose} on {_THINGS.get(thing, thing)} is reached ({word})."


def _time_budget(owner: str, thing: str, span: str, job: Job) -> str:
    whose = f"Account {job['account']}" if owner == "Assoc" else f"QOS {job['qos']}"
    what = _THINGS.get(thing, thing)
    if span == "RunMinutes":
        return (
            f"{whose} has a limit on {what} × time still reserved by running jobs, and it is reached:"
            " a shorter time limit may start sooner."
        )
    return f"{whose} has used up its budget of {what} × time, or this job would exceed what is left."


def _biting(
    limits: str, used: Mapping[str, int], asked: Mapping[str, int], thing: str
) -> tuple[str, int] | None:
    """The TRES and its limit that this job would exceed; else one it comes closest to."""
    key = _TRES.get(thing)
    choices = {
        name: most
        for name, most in tres(limits).items()
        if (name == key if key else name.startswith("gres/") or thing == "unknown")
        or (thing == "license"
        and name.startswith("license/"))
    }
    over = [item for item in choices.items() if used.get(item[0], 0) + asked.get(item[0], 0) > item[1]]
    relevant = over or [item for item in choices.items() if asked.get(item[0])] or list(choices.items())
    return relevant[0] if relevant else None


def _used(snapshot: Snapshot, **conditions: set[str]) -> dict[str, int]:
    """TRES held now by the jobs that meet the conditions (column in a set of values)."""
    total: dict[str, int] = {}
    for text, count in _counts(snapshot, "tres", _HOLDING, conditions):
        for name, number in tres(text).items():
            total[name] = total.get(name, 0) + number * count
    return total


def _counts(
    snapshot: Snapshot, column: str, states: pa.Array, conditions: Mapping[str, set[str]]
) -> list[tuple[str, int]]:
    jobs = snapshot.jobs.table
    mask = pc.is_in(jobs["state"], value_set=states)
    for name, values in conditions.items():
        mask = pc.and_(mask, pc.is_in(jobs[name], value_set=pa.array(sorted(values), pa.string())))
    groups = (
        jobs.select([column, "array_pending"])
        .filter(mask)
        .group_by(column)
        .aggregate([("array_pending", "sum")])
    )
    return [(entry[column], entry["array_pending_sum"]) for entry in groups.to_pylist()]


def _association_words(kind: str, per: str, thing: str, job: Job, snapshot: Snapshot, *, own: bool) -> str:
    asked = tres(job["tres"] or "")
    if kind == "Max":
        for row in _associations(job, snapshot):
            found = _biting(row["max_tres_per_job"] or "", {}, asked, thing)
            if found:
                return _too_much(
                    found, asked, f"account {row['account']}", "node" if per == "PerNode" else "job"
                )
        return ""
    for row in _associations(job, snapshot):
        if not row["group_tres"]:
            continue
        conditions = {"account": _with_below(row["account"], snapshot)}
        if row["user"]:
            conditions["user"] = {row["user"]}
        used = _used(snapshot, **conditions)
        found = _biting(row["group_tres"], used, asked, thing)
        if found and used.get(found[0], 0) + asked.get(found[0], 0) > found[1]:
            if row["user"]:
                subject = f"{_who(job, own=own)} in account {row['account']}"
                return f"{subject} {_holds(own=own)} {_of(found, used)}{_asks(found, asked)}."
            group = f"{'Your group' if own else 'Group'} {row['account']}"
            return f"{group} uses {_of(found, used)}{_asks(found, asked)} (QOS {job['qos']})."
    return ""


def _associations(job: Job, snapshot: Snapshot) -> list[dict[str, Any]]:
    """The job's association, then its account's, its parent account's, … up to the root."""
    rows = snapshot.associations.rows()
    accounts = {row["account"]: row for row in rows if not row["user"]}
    chain = [
        row
        for row in rows
        if row["user"] == job["user"]
        and row["account"] == job["account"]
        and (not row["partition"] or row["partition"] in job["partition"].split(","))
    ]
    name, seen = job["account"], set()
    while name in accounts and name not in seen:
        seen.add(name)
        chain.append(accounts[name])
        name = accounts[name]["parent"]
    return chain


def _with_below(account: str, snapshot: Snapshot) -> set[str]:
    """The account and all accounts below it."""
    parents = {row["account"]: row["parent"] for row in snapshot.associations.rows() if not row["user"]}
    found = {account}
    for name in parents:
        path: list[str] = []
        step = name
        while step and step not in path:
            path.append(step)
            if step == account:
                found.update(path)
                break
            step = parents.get(step, "")
    return found


def _qos_rows(job: Job, snapshot: Snapshot) -> list[tuple[dict[str, Any], dict[str, set[str]], str]]:
    """The QOS whose limits apply (the job's, and its partitions' own): row, which jobs count, what to call it."""
    rows = {row["name"]: row for row in snapshot.qos.rows()}
    found = []
    for partition in snapshot.partitions.rows():
        if partition["qos"] in rows and partition["name"] in job["partition"].split(","):
            counted = {"partition": {partition["name"]}}
            found.append((rows[partition["qos"]], counted, f"partition {partition['name']}"))
    if job["qos"] in rows:
        found.append((rows[job["qos"]], {"qos": {job["qos"]}}, f"QOS {job['qos']}"))
    return found


def _qos_words(kind: str, per: str, thing: str, job: Job, snapshot: Snapshot, *, own: bool) -> str:
    asked = tres(job["tres"] or "")
    field = {
        "PerUser": "max_tres_per_user",
        "PerAccount": "max_tres_per_account",
        "PerNode": "max_tres_per_node",
        "PerJob": "max_tres_per_job",
    }.get(per, "group_tres" if kind == "Grp" else "max_tres_per_job")
    if kind == "Min":
        field = "min_tres_per_job"
    best = ""
    for row, counted, name in _qos_rows(job, snapshot):
        if not row[field]:
            continue
        if kind == "Min":
            lacking = _lacking(row[field], asked, thing)
            if lacking:
                return f"It asks for {_some(lacking[0], asked)}; {name} wants {amount(*lacking)} or more a job. It will not start as it is."
            continue
        if field in ("max_tres_per_job", "max_tres_per_node"):
            found = _biting(row[field], {}, asked, thing)
            if found:
                return _too_much(found, asked, name, "node" if per == "PerNode" else "job")
            continue
        if per == "PerUser":
            counted = counted | {"user": {job["user"]}}
        if per == "PerAccount":
            counted = counted | {"account": {job["account"]}}
        used = _used(snapshot, **counted)
        found = _biting(row[field], used, asked, thing)
        if not found:
            continue
        words = _qos_use(per, found, used, asked, name, job, own=own)
        if used.get(found[0], 0) + asked.get(found[0], 0) > found[1]:
            return words
        best = best or words
    return best


def _qos_use(
    per: str,
    found: tuple[str, int],
    used: Mapping[str, int],
    asked: Mapping[str, int],
    name: str,
    job: Job,
    *,
    own: bool,
) -> str:
    now = used.get(found[0], 0)
    plain_now = amount(found[0], now, bare=True)
    if per == "PerUser":
        return f"{_who(job, own=own)} {_holds(own=own)} {plain_now} of the {amount(*found)} that {name} gives one person{_asks(found, asked)}."
    if per == "PerAccount":
        return f"Account {job['account']} uses {plain_now} of the {amount(*found)} that {name} gives one account{_asks(found, asked)}."
    return f"{name[0].upper()}{name[1:]} has {plain_now} of its {amount(*found)} in use{_asks(found, asked)}."


def _lacking(limits: str, asked: Mapping[str, int], thing: str) -> tuple[str, int] | None:
    key = _TRES.get(thing)
    for name, least in tres(limits).items():
        if (name == key if key else name.startswith("gres/")) and asked.get(name, 0) < least:
            return name, least
    return None


def _count_words(
    owner: str, kind: str, per: str, submitted: bool, job: Job, snapshot: Snapshot, *, own: bool
) -> str:
    states = pa.array(["PENDING", "RUNNING", "SUSPENDED"]) if submitted else _HOLDING
    doing = "in the queue" if submitted else "running"
    if owner == "Assoc":
        for row in _associations(job, snapshot):
            most = row[("group_" if kind == "Grp" else "max_") + ("submit" if submitted else "jobs")]
            if most is None:
                continue
            conditions = {
                "account": _with_below(row["account"], snapshot) if kind == "Grp" else {row["account"]}
            }
            if row["user"] or kind == "Max":
                conditions["user"] = {job["user"]}
            count = sum(number for _, number in _counts(snapshot, "user", states, conditions))
            if count >= most:
                who = (
                    _who(job, own=own)
                    if "user" in conditions
                    else f"{'Your group' if own else 'Group'} {row['account']}"
                )
                has = ("have" if own else "has") if "user" in conditions else "has"
                return f"{who} {has} {count} {_jobs(count)} {doing}; account {row['account']} allows {most}."
        return ""
    field = ("max_submit" if submitted else "max_jobs") + (
        "_per_account" if per == "PerAccount" else "_per_user"
    )
    if kind == "Grp":
        field = "group_submit" if submitted else "group_jobs"
    for row, counted, name in _qos_rows(job, snapshot):
        most = row[field]
        if most is None:
            continue
        conditions = dict(counted)
        if field.endswith("_per_user"):
            conditions["user"] = {job["user"]}
        if field.endswith("_per_account"):
            conditions["account"] = {job["account"]}
        count = sum(number for _, number in _counts(snapshot, "user", states, conditions))
        if count < most:
            continue
        if field.endswith("_per_user"):
            return f"{_who(job, own=own)} {'have' if own else 'has'} {count} {_jobs(count)} {doing}; {name} allows one person {most}."
        if field.endswith("_per_account"):
            return f"Account {job['account']} has {count} {_jobs(count)} {doing}; {name} allows one account {most}."
        return f"There are {count} {_jobs(count)} {doing} in {name}, which allows {most}."
    return ""


def _wall_words(owner: str, kind: str, job: Job, snapshot: Snapshot) -> str:
    if kind == "Grp":
        return _time_budget(owner, "wall", "", job).replace("wall × time", "running time")
    if owner == "Assoc":
        limits = [(f"account {row['account']}", row["max_wall_s"]) for row in _associations(job, snapshot)]
    else:
        limits = [(name, row["max_wall_s"]) for row, _, name in _qos_rows(job, snapshot)]
    asked = job["time_limit_s"]
    for name, most in limits:
        if most is not None and (asked is None or asked > most):
            wanted = "no time limit" if asked is None else as_duration(asked)
            return f"It asks for {wanted}; {name} allows {as_duration(most)}. It will not start as it is."
    return ""


# -- phrases ------------------------------------------------------------------------------------------------------


def _too_much(found: tuple[str, int], asked: Mapping[str, int], name: str, unit: str) -> str:
    return f"It asks for {_some(found[0], asked)}; {name} allows {amount(*found)} a {unit}. It will not start as it is."


def _some(key: str, asked: Mapping[str, int]) -> str:
    return amount(key, asked[key]) if asked.get(key) else "no " + amount(key, 0, noun=True)


def _of(found: tuple[str, int], used: Mapping[str, int]) -> str:
    return f"{amount(found[0], used.get(found[0], 0), bare=True)} of its {amount(*found)}"


def _asks(found: tuple[str, int], asked: Mapping[str, int]) -> str:
    more = asked.get(found[0])
    return f"; this job asks for {amount(found[0], more, bare=True)}" if more else ""


def _who(job: Job, *, own: bool) -> str:
    return "You" if own else str(job["user"])


def _holds(*, own: bool) -> str:
    return "use" if own else "uses"


def _jobs(count: int) -> str:
    return "job" if count == 1 else "jobs"
