"""A limit that keeps a job waiting, in words: whose it is, what it allows, what of it is in use."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from backend.cluster.model import Snapshot
from backend.cluster.slurm.text import tres
from backend.cluster.views.amounts import amount, as_duration

HOLDING = pa.array(["RUNNING", "SUSPENDED"])
QUEUED = pa.array(["PENDING", "RUNNING", "SUSPENDED"])
NEVER = "It will not start as it is."

# QOSMaxGRESPerUser, AssocGrpCPURunMinutesLimit, QOSMinGRES, MaxMemoryPerAccount, …
_LIMIT = re.compile(
    r"(?P<of>Assoc|QOS)?(?P<kind>Grp|Max|Min)"
    r"(?P<thing>CPU|Cpu|Memory|Mem|Node|GRES|License|Energy|BB|Billing|Unknown|SubmitJobs?|Jobs|WallDuration|Wall)"
    r"(?P<span>RunMinutes|Minutes)?(?P<per>PerJob|PerNode|PerUser|PerAccount)?(?:Limit|NotSatisfied)?\Z"
)
_TRES = {
    "cpu": "cpu",
    "mem": "mem",
    "memory": "mem",
    "node": "node",
    "energy": "energy",
    "billing": "billing",
}
_FAMILY = {"gres": "gres/", "license": "license/", "bb": "bb/", "unknown": ""}
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
    "jobs": "jobs",
    "unknown": "a resource",
}
_QOS_TRES = {
    "PerUser": "max_tres_per_user",
    "PerAccount": "max_tres_per_account",
    "PerNode": "max_tres_per_node",
    "PerJob": "max_tres_per_job",
}


@dataclass(frozen=True)
class Limit:
    """A TRES, how much of it is allowed, used now, and asked for by the job."""

    key: str
    most: int
    used: int
    asked: int

    @property
    def bites(self) -> bool:
        return self.used + self.asked > self.most

    @property
    def of_its(self) -> str:
        return f"{amount(self.key, self.used, bare=True)} of its {amount(self.key, self.most)}"

    @property
    def asks(self) -> str:
        return f"; this job asks for {amount(self.key, self.asked, bare=True)}" if self.asked else ""

    @property
    def wanted(self) -> str:
        return amount(self.key, self.asked) if self.asked else f"no {amount(self.key, 0, noun=True)}"


@dataclass(frozen=True)
class Case:
    """A job, what is known around it, and whether the reader is its owner."""

    job: Mapping[str, Any]
    snapshot: Snapshot
    own: bool

    @property
    def who(self) -> str:
        return "You" if self.own else str(self.job["user"])

    @property
    def uses(self) -> str:
        return "use" if self.own else "uses"

    @property
    def has(self) -> str:
        return "have" if self.own else "has"

    def group(self, account: str) -> str:
        return f"{'Your group' if self.own else 'Group'} {account}"

    @property
    def asked(self) -> dict[str, int]:
        return tres(self.job["tres"] or "")

    def limit(self, text: str, thing: str, used: Mapping[str, int]) -> Limit | None:
        """The one of some TRES limits that this job meets; else the one most like it; None when none fits."""
        asked = self.asked
        found = [
            Limit(key, most, used.get(key, 0), asked.get(key, 0))
            for key, most in tres(text).items()
            if (key == _TRES[thing] if thing in _TRES else key.startswith(_FAMILY.get(thing, "")))
        ]
        return next(
            iter([limit for limit in found if limit.bites] or [limit for limit in found if limit.asked] or found),
            None,
        )

    def used(self, **conditions: set[str]) -> dict[str, int]:
        """TRES held now by the jobs whose columns have one of these values."""
        total: dict[str, int] = {}
        for text, count in self._counts("tres", HOLDING, conditions):
            for name, number in tres(text).items():
                total[name] = total.get(name, 0) + number * count
        return total

    def jobs(self, states: pa.Array, **conditions: set[str]) -> int:
        """How many jobs (tasks of arrays) have one of these states and values."""
        return sum(count for _, count in self._counts("user", states, conditions))

    def _counts(self, column: str, states: pa.Array, conditions: Mapping[str, set[str]]) -> list[tuple[str, int]]:
        jobs = self.snapshot.jobs.table
        mask = pc.is_in(jobs["state"], value_set=states)
        for name, values in conditions.items():
            mask = pc.and_(mask, pc.is_in(jobs[name], value_set=pa.array(sorted(values), pa.string())))
        chosen = jobs.select([column, "array_pending"]).filter(mask)
        groups = chosen.group_by(column).aggregate([("array_pending", "sum")])
        return [(entry[column], entry["array_pending_sum"]) for entry in groups.to_pylist()]

    def associations(self) -> list[dict[str, Any]]:
        """The job's association, then its account's, its parent account's, … up to the root."""
        rows = self.snapshot.associations.rows()
        accounts = {row["account"]: row for row in rows if not row["user"]}
        partitions = ["", *self.job["partition"].split(",")]
        chain = [
            row
            for row in rows
            if (row["user"], row["account"]) == (self.job["user"], self.job["account"])
            and row["partition"] in partitions
        ]
        name, seen = self.job["account"], set()
        while name in accounts and name not in seen:
            seen.add(name)
            chain.append(accounts[name])
            name = accounts[name]["parent"]
        return chain

    def members(self, row: Mapping[str, Any]) -> dict[str, set[str]]:
        """Which jobs count against an association's group limit: its own, and of all accounts below."""
        if row["user"]:
            return {"account": {row["account"]}, "user": {row["user"]}}
        parents = {one["account"]: one["parent"] for one in self.snapshot.associations.rows() if not one["user"]}
        below = {row["account"]}
        while True:
            more = {name for name, parent in parents.items() if parent in below} - below
            if not more:
                return {"account": below}
            below |= more

    def qos(self) -> Iterator[tuple[dict[str, Any], dict[str, set[str]], str]]:
        """The QOS whose limits apply, a partition's own first: its row, which jobs count, what to call it."""
        rows = {row["name"]: row for row in self.snapshot.qos.rows()}
        for partition in self.snapshot.partitions.rows():
            if partition["qos"] in rows and partition["name"] in self.job["partition"].split(","):
                name = partition["name"]
                yield rows[partition["qos"]], {"partition": {name}}, f"partition {name}"
        if self.job["qos"] in rows:
            yield rows[self.job["qos"]], {"qos": {self.job["qos"]}}, f"QOS {self.job['qos']}"


def is_limit(word: str) -> bool:
    """Whether Slurm's reason names a limit of an association or a QOS."""
    return _LIMIT.match(word) is not None


def limit_in_words(word: str, case: Case) -> str:
    """The limit that a reason names, with figures where the snapshot has them."""
    match = _LIMIT.match(word)
    if match is None:
        return ""
    thing, kind, per = match["thing"].lower(), match["kind"], match["per"] or ""
    of_account = match["of"] == "Assoc"  # a name without either is of a QOS: MaxGRESPerAccount
    whose = f"account {case.job['account']}" if of_account else f"QOS {case.job['qos']}"
    if match["span"]:
        return _time_budget(whose, _THINGS.get(thing, thing), reserved=match["span"] == "RunMinutes")
    if thing.startswith(("jobs", "submit")):
        words = _job_count(case, of_account=of_account, kind=kind, per=per, submitted=thing.startswith("submit"))
        thing = "jobs"
    elif thing.startswith("wall"):
        words = _wall(case, of_account=of_account) if kind == "Max" else _time_budget(whose, "running", reserved=False)
    elif of_account:
        words = _account_most(case, thing, per) if kind == "Max" else _account_group(case, thing)
    elif kind == "Min":
        words = _qos_least(case, thing)
    elif per in ("PerJob", "PerNode") or (kind == "Max" and not per):
        words = _qos_most(case, thing, per or "PerJob")
    else:
        words = _qos_in_use(case, thing, per)
    return words or f"A limit of {whose} on {_THINGS.get(thing, thing)} is reached ({word})."


def _time_budget(whose: str, what: str, *, reserved: bool) -> str:
    name = whose[0].upper() + whose[1:]
    if reserved:
        return (
            f"{name} has a limit on {what} × time that running jobs may still take, and it is reached:"
            " a shorter time limit may start sooner."
        )
    return f"{name} has used up its budget of {what} time, or this job would exceed what is left."


def _account_group(case: Case, thing: str) -> str:
    near = ""
    for row in case.associations():
        members = case.members(row)
        limit = case.limit(row["group_tres"] or "", thing, case.used(**members))
        if limit is None:
            continue
        if row["user"]:
            words = f"{case.who} {case.uses} {limit.of_its} in account {row['account']}{limit.asks}."
            words = words.replace(" of its ", f" of {'your' if case.own else 'their'} ")
        else:
            words = f"{case.group(row['account'])} uses {limit.of_its} (QOS {case.job['qos']}){limit.asks}."
        if limit.bites:
            return words
        near = near or words
    return near


def _account_most(case: Case, thing: str, per: str) -> str:
    for row in case.associations():
        limit = case.limit(row["max_tres_per_job"] or "", thing, {})
        if limit is not None and limit.bites:
            return _too_much(limit, f"account {row['account']}", per)
    return ""


def _qos_most(case: Case, thing: str, per: str) -> str:
    for row, _, name in case.qos():
        limit = case.limit(row[_QOS_TRES[per]] or "", thing, {})
        if limit is not None and limit.bites:
            return _too_much(limit, name, per)
    return ""


def _too_much(limit: Limit, name: str, per: str) -> str:
    unit = "node" if per == "PerNode" else "job"
    return f"It asks for {limit.wanted}; {name} allows {amount(limit.key, limit.most)} a {unit}. {NEVER}"


def _qos_least(case: Case, thing: str) -> str:
    for row, _, name in case.qos():
        limit = case.limit(row["min_tres_per_job"] or "", thing, {})
        if limit is not None and limit.asked < limit.most:
            least = amount(limit.key, limit.most)
            return f"It asks for {limit.wanted}; {name} wants {least} or more a job. {NEVER}"
    return ""


def _qos_in_use(case: Case, thing: str, per: str) -> str:
    near = ""
    for row, counted, name in case.qos():
        members = dict(counted)
        if per == "PerUser":
            members["user"] = {case.job["user"]}
        if per == "PerAccount":
            members["account"] = {case.job["account"]}
        limit = case.limit(row[_QOS_TRES.get(per, "group_tres")] or "", thing, case.used(**members))
        if limit is None:
            continue
        words = _in_use(case, limit, name, per)
        if limit.bites:
            return words
        near = near or words
    return near


def _in_use(case: Case, limit: Limit, name: str, per: str) -> str:
    used, most = amount(limit.key, limit.used, bare=True), amount(limit.key, limit.most)
    if per == "PerUser":
        return f"{case.who} {case.uses} {used} of the {most} that {name} gives one person{limit.asks}."
    if per == "PerAccount":
        account = case.job["account"]
        return f"Account {account} uses {used} of the {most} that {name} gives one account{limit.asks}."
    return f"{name[0].upper()}{name[1:]} has {limit.of_its} in use{limit.asks}."


def _job_count(case: Case, *, of_account: bool, kind: str, per: str, submitted: bool) -> str:
    states = QUEUED if submitted else HOLDING
    doing = "in the queue" if submitted else "running"
    what = "submit" if submitted else "jobs"
    if of_account:
        return _account_count(case, f"{'group' if kind == 'Grp' else 'max'}_{what}", states, doing)
    whose = "account" if per == "PerAccount" else "user"
    field = f"group_{what}" if kind == "Grp" else f"max_{what}_per_{whose}"
    for row, counted, name in case.qos():
        if row[field] is None:
            continue
        members = counted if kind == "Grp" else counted | {whose: {case.job[whose]}}
        count = case.jobs(states, **members)
        if count < row[field]:
            continue
        if kind == "Grp":
            return f"There {_are(count)} {doing} in {name}, which allows {row[field]}."
        if whose == "user":
            return f"{case.who} {case.has} {_jobs(count)} {doing}; {name} allows one person {row[field]}."
        account = case.job["account"]
        return f"Account {account} has {_jobs(count)} {doing}; {name} allows one account {row[field]}."
    return ""


def _account_count(case: Case, field: str, states: pa.Array, doing: str) -> str:
    for row in case.associations():
        if row[field] is None:
            continue
        members = case.members(row)
        if field.startswith("max_"):
            members = {"account": {row["account"]}, "user": {case.job["user"]}}
        count = case.jobs(states, **members)
        if count < row[field]:
            continue
        who = f"{case.who} {case.has}" if "user" in members else f"{case.group(row['account'])} has"
        return f"{who} {_jobs(count)} {doing}; account {row['account']} allows {row[field]}."
    return ""


def _wall(case: Case, *, of_account: bool) -> str:
    if of_account:
        limits = [(f"account {row['account']}", row["max_wall_s"]) for row in case.associations()]
    else:
        limits = [(name, row["max_wall_s"]) for row, _, name in case.qos()]
    asked = case.job["time_limit_s"]
    for name, most in limits:
        if most is not None and (asked is None or asked > most):
            wanted = "no time limit" if asked is None else as_duration(asked)
            return f"It asks for {wanted}; {name} allows {as_duration(most)}. {NEVER}"
    return ""


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count} jobs"


def _are(count: int) -> str:
    return "is 1 job" if count == 1 else f"are {count} jobs"
