"""What stands against a request, in words. The scheduler stays the authority: this only asks first.

A limit is looked up as Slurm does: the partition's QOS, the job's QOS, the person's association, the accounts
above it; the first that is set counts (group limits of each account above count all).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from backend.sessions.limits.access import (
    allowed_qos,
    effective_qos,
    gpu_types_of,
    partition_refusal,
)
from backend.sessions.limits.facts import Facts, PersonFacts, Row
from backend.sessions.limits.tres import amount, parse_tres, wanted_tres
from backend.sessions.model import LaunchRequest, Problem

Source = tuple[str, Row]  # how to name where a limit stands, and its row


def problems(request: LaunchRequest, facts: Facts, person: PersonFacts) -> tuple[Problem, ...]:
    """Everything that stands against a completed request, most telling first."""
    found = list(_access(request, facts, person))
    if not found:
        found = [*_fits_machines(request, facts), *_limits(request, facts, person)]
    return tuple(found)


def _access(request: LaunchRequest, facts: Facts, person: PersonFacts) -> Iterator[Problem]:
    if facts.knows_associations:
        accounts = person.account_names()
        if not accounts:
            yield Problem("account", "You have no account on this cluster. Ask its admins for one.")
            return
        if request.account not in accounts:
            yield Problem("account", f"You are not a member of account {request.account}.")
            return
        qos = allowed_qos(person, request.account, request.partition)
        if request.qos and qos and request.qos not in qos:
            yield Problem("qos", f"QOS {request.qos} is not open to you in account {request.account}.")
    if request.qos and facts.qos and request.qos not in facts.qos:
        yield Problem("qos", f"There is no QOS {request.qos}.")
    yield from _partition(request, facts, person)
    yield from _reservation(request, facts, person)


def _partition(request: LaunchRequest, facts: Facts, person: PersonFacts) -> Iterator[Problem]:
    if not facts.partitions:
        return
    if not request.partition:
        yield Problem("partition", "No partition is open to you that has what you ask for.")
        return
    partition = facts.partition(request.partition)
    if partition is None:
        yield Problem("partition", f"There is no partition {request.partition}.")
        return
    qos = effective_qos(person, request.account, request.partition, request.qos)
    why = partition_refusal(partition, person, request.account, qos)
    if why:
        yield Problem("partition", why)
        return
    longest = partition["max_time_s"]
    if longest is not None and request.time_s > longest:
        yield Problem("time_s", f"Partition {request.partition} allows {duration(longest)} at most.")
    most = partition["max_nodes"]
    if most is not None and request.nodes > most:
        yield Problem("nodes", f"Partition {request.partition} allows {amount('node', most)} at most.")


def _reservation(request: LaunchRequest, facts: Facts, person: PersonFacts) -> Iterator[Problem]:
    if not request.reservation:
        return
    row = next((each for each in facts.reservations if each["name"] == request.reservation), None)
    if row is None:
        yield Problem("reservation", f"There is no reservation {request.reservation}.")
    elif not may_use_reservation(row, person, request.account):
        yield Problem("reservation", f"Reservation {request.reservation} is not yours to use.")


def may_use_reservation(row: Row, person: PersonFacts, account: str) -> bool:
    """Whether the reservation names the person or the account (or nobody)."""
    users, accounts = row["users"] or [], row["accounts"] or []
    if not users and not accounts:
        return True
    return person.name in users or bool(account and account in accounts)


def _fits_machines(request: LaunchRequest, facts: Facts) -> Iterator[Problem]:
    if not facts.knows_nodes:
        return
    nodes = facts.nodes_of(request.partition)
    where = f"partition {request.partition}" if request.partition else "this cluster"
    types = gpu_types_of(facts, request.partition)
    if request.gpu_type and request.gpu_type not in types:
        have = ", ".join(sorted(filter(None, types))) or "no GPU"
        yield Problem("gpu_type", f"There is no {request.gpu_type} in {where}; it has {have}.")
        return
    for field, name, asked, most in (
        ("gpus", f"gres/gpu:{request.gpu_type}" if request.gpu_type else "gres/gpu", request.gpus,
         max((_gpus(node, request.gpu_type) for node in nodes), default=0)),
        ("cpus", "cpu", request.cpus, max((node["cpus"] or 0 for node in nodes), default=0)),
        ("memory_mb", "mem", request.memory_mb, max((node["memory_mb"] or 0 for node in nodes), default=0)),
    ):  # fmt: skip
        if asked > most:
            yield Problem(field, f"No node of {where} has {amount(name, asked)}; the most is {amount(name, most)}.")
            return
    fitting = sum(1 for node in nodes if _has(node, request))
    if fitting == 0:
        yield Problem("", f"No single node of {where} has all of this together.")
    elif fitting < request.nodes:
        yield Problem("nodes", f"Only {amount('node', fitting)} of {where} can hold this, not {request.nodes}.")


def _gpus(node: Row, gpu_type: str) -> int:
    return sum(item["total"] or 0 for item in node["gpu_types"] or () if not gpu_type or item["type"] == gpu_type)


def _has(node: Row, request: LaunchRequest) -> bool:
    return (
        (node["cpus"] or 0) >= request.cpus
        and (node["memory_mb"] or 0) >= request.memory_mb
        and _gpus(node, request.gpu_type) >= request.gpus
    )


def _limits(request: LaunchRequest, facts: Facts, person: PersonFacts) -> Iterator[Problem]:
    chain = person.chain(request.account, request.partition)
    sources = [*_qos_sources(request, facts, person), *_association_sources(chain)]
    yield from _wall(request, sources)
    wanted = wanted_tres(
        nodes=request.nodes,
        cpus=request.cpus,
        memory_mb=request.memory_mb,
        gpus=request.gpus,
        gpu_type=request.gpu_type,
    )
    seen: set[str] = set()
    for key, meaning in (
        ("max_tres_per_job", "{who} allows {most} a job at most; this asks for {asked}."),
        ("max_tres_per_user", "{who} allows one person {most} at a time; this asks for {asked}."),
        ("max_tres_per_account", "{who} allows an account {most} at a time; this asks for {asked}."),
        ("group_tres", "{who} allows {most} for all together; this asks for {asked}."),
    ):
        for name, asked, who, most in _exceeded(wanted, sources, key):
            if name.partition(":")[0] in seen:
                continue  # one broken limit a resource is enough to read
            seen.add(name.partition(":")[0])
            words = meaning.format(who=who, most=amount(name, most), asked=amount(name, asked))
            yield Problem(_field_of(name), words)
    yield from _submits(request, person, sources)


def _qos_sources(request: LaunchRequest, facts: Facts, person: PersonFacts) -> list[Source]:
    partition = facts.partition(request.partition)
    names = [partition["qos"] if partition else ""]
    names.append(effective_qos(person, request.account, request.partition, request.qos))
    rows = [(f"QOS {name}", facts.qos[name]) for name in dict.fromkeys(names) if name and name in facts.qos]
    return list(rows)


def _association_sources(chain: list[Row]) -> list[Source]:
    return [("Your association" if row["user"] else f"Account {row['account']}", row) for row in chain]


def _wall(request: LaunchRequest, sources: list[Source]) -> Iterator[Problem]:
    for who, row in sources:
        longest = row["max_wall_s"]
        if longest is not None:
            if request.time_s > longest:
                yield Problem("time_s", f"{who} allows {duration(longest)} at most.")
            return


def _exceeded(wanted: Mapping[str, float], sources: list[Source], key: str) -> Iterator[tuple[str, float, str, float]]:
    for name, asked in wanted.items():
        for who, row in sources:
            most = parse_tres(row.get(key)).get(name)
            if most is None:
                continue
            if asked > most:
                yield name, asked, who, most
            if key != "group_tres":
                break  # the first that is set counts


def _submits(request: LaunchRequest, person: PersonFacts, sources: list[Source]) -> Iterator[Problem]:
    for who, row in sources:
        if "max_submit_per_user" in row:  # a QOS
            most = row["max_submit_per_user"]
            mine = _count(person, "qos", row["name"])
        else:
            most = row["max_submit"] if row["user"] else None
            mine = _count(person, "account", request.account)
        if most is None:
            continue
        if mine >= most:
            yield Problem("", f"{who} lets {most} of your jobs wait or run at a time, and {mine} do.")
        return


def _count(person: PersonFacts, column: str, value: str) -> int:
    return sum(job["array_pending"] or 1 for job in person.jobs if job[column] == value)


def _field_of(name: str) -> str:
    fields = {"node": "nodes", "cpu": "cpus", "mem": "memory_mb"}
    return fields.get(name, "gpus")


def duration(seconds: int) -> str:
    """A duration in words: `2 days`, `1 h 30 min`."""
    minutes, rest = divmod(seconds, 60)
    if minutes < 1:
        return f"{rest} s"
    if seconds % 86400 == 0:
        days = seconds // 86400
        return f"{days} day{'s' if days != 1 else ''}"
    hours, minutes = divmod(minutes, 60)
    return " ".join([f"{hours} h"] * bool(hours) + [f"{minutes} min"] * bool(minutes))
