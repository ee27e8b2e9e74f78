"""Which partitions an account and a person may submit to, and which QOS applies."""

from __future__ import annotations

from backend.sessions.limits.facts import Facts, PersonFacts, Row


def partition_refusal(partition: Row, person: PersonFacts, account: str, qos: str) -> str:
    """Why this partition doesn't take the job, in words, or "". An account or QOS of "" is not known."""
    name = partition["name"]
    if partition["state"] in ("INACTIVE", "DRAIN"):
        return f"Partition {name} takes no new jobs at the moment."
    allow, deny = partition["allow_accounts"], partition["deny_accounts"]
    if account and allow and account not in allow:
        return f"Partition {name} is not open to account {account}, only to {_names(allow)}."
    if account and deny and account in deny:
        return f"Partition {name} is closed to account {account}."
    groups = partition["allow_groups"]
    if groups and not person.groups & set(groups):
        return f"Partition {name} is open to the group {_names(groups)} only."
    allow_qos = partition["allow_qos"]
    if qos and allow_qos and qos not in allow_qos:
        return f"Partition {name} takes the QOS {_names(allow_qos)} only, not {qos}."
    return ""


def allowed_qos(person: PersonFacts, account: str, partition: str) -> tuple[str, ...]:
    """The QOS the account gives the person; empty when the scheduler doesn't say."""
    for row in person.chain(account, partition):
        if row["qos"]:
            return tuple(row["qos"])
    return ()


def effective_qos(person: PersonFacts, account: str, partition: str, asked: str) -> str:
    """The QOS a job gets: as asked, else the association's default, else the only one or "normal"."""
    if asked:
        return asked
    for row in person.chain(account, partition):
        if row["default_qos"]:
            return str(row["default_qos"])
    allowed = allowed_qos(person, account, partition)
    if len(allowed) == 1:
        return allowed[0]
    return "normal" if "normal" in allowed else ""


def gpu_types_of(facts: Facts, partition: str) -> dict[str, int]:
    """GPU models in a partition, and how many of each one node has at most."""
    found: dict[str, int] = {}
    for node in facts.nodes_of(partition):
        for item in node["gpu_types"] or ():
            found[item["type"]] = max(found.get(item["type"], 0), item["total"] or 0)
    return found


def _names(values: list[str]) -> str:
    return ", ".join(values[:5]) + (" and others" if len(values) > 5 else "")
