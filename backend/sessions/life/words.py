"""What a person is told: why a submission was refused, how a session ended."""

from __future__ import annotations

import pwd

# Slurm's own sentences (slurm_strerror and sbatch), lower case, and what they mean to the person
_REFUSALS = (
    ("invalid account or account/partition", "", "This account can't be used in this partition."),
    ("invalid account", "account", "The scheduler doesn't know this account for you."),
    ("invalid qos", "qos", "This QOS can't be used with this account."),
    ("user's group not permitted", "partition", "Your groups may not use this partition."),
    ("invalid partition", "partition", "There is no such partition."),
    ("not permitted to use this partition", "partition", "Your account may not use this partition."),
    ("required partition not available", "partition", "This partition takes no jobs at the moment."),
    ("reservation", "reservation", "This reservation is not there, or not open to you."),
    ("time limit", "time_s", "The time is longer than a limit allows."),
    ("maxwall", "time_s", "The time is longer than a limit allows."),
    ("maxsubmit", "", "You have as many jobs waiting and running as a limit allows; end one first."),
    ("maxgres", "gpus", "More GPUs than a limit allows."),
    ("maxcpu", "cpus", "More CPUs than a limit allows."),
    ("maxmem", "memory_mb", "More memory than a limit allows."),
    ("maxnode", "nodes", "More nodes than a limit allows."),
    ("accounting/qos policy", "", "A limit of your account or QOS forbids it."),
    ("generic resource", "gpus", "There are no such GPUs."),
    ("gres", "gpus", "There are no such GPUs."),
    ("memory", "memory_mb", "No node has this much memory."),
    ("node configuration is not available", "", "No node of the partition has all of this together."),
    ("node count", "nodes", "More nodes than the partition has or allows."),
    ("more processors", "cpus", "No node has this many CPUs."),
)
_KINDS = {
    "down": "The console can't submit at the moment: its launcher is not running. Tell the site's admins.",
    "unavailable": "The scheduler can't be reached at the moment. Nothing was submitted; try again soon.",
    "too_late": "The scheduler took too long. Nothing was submitted; try again.",
}


def refusal_words(kind: str, message: str) -> tuple[str, str]:
    """(field, words) for a launcher's error: plain words first, then the scheduler's own."""
    if kind in _KINDS:
        return "", _KINDS[kind]
    own = " ".join(message.split())
    if kind != "refused":
        return "", own
    lower = own.lower()
    for mark, field, words in _REFUSALS:
        if mark in lower:
            return field, f"{words} (The scheduler says: {own})"
    return "", f"The scheduler refused it: {own}"


def ended_words(state: str, exit_code: str, time_limit: str = "") -> str:
    """Why a job is over, from the scheduler's state."""
    status, _, number = (exit_code or "").partition(":")
    if state == "COMPLETED":
        return "It ended by itself."
    if state == "TIMEOUT":
        return f"Its time limit{f' of {time_limit}' if time_limit else ''} was reached."
    if state == "OUT_OF_MEMORY":
        return "It used more memory than it asked for. Ask for more next time."
    if state == "FAILED":
        how = f"signal {number}" if number not in ("", "0") else f"exit status {status or '?'}"
        return f"It failed with {how}; its log says more."
    return {
        "CANCELLED": "It was cancelled.",
        "NODE_FAIL": "Its node failed.",
        "PREEMPTED": "It had to make room for a job of higher priority.",
        "BOOT_FAIL": "Its node could not be started.",
        "DEADLINE": "It could not have ended before its deadline.",
    }.get(state, "It is over.")


def cancelled_words(stopped_by: str | None, owner: str, cancelled_by: str) -> str:
    """Who ended it: through the console, or with the scheduler's own commands."""
    if stopped_by == owner:
        return "You stopped it."
    if stopped_by:
        return f"{stopped_by} stopped it."
    who = _name_of(cancelled_by)
    return f"It was cancelled by {who}." if who else "It was cancelled."


def _name_of(uid: str) -> str:
    if not uid.isdigit():
        return uid
    try:
        return pwd.getpwuid(int(uid)).pw_name
    except (KeyError, OverflowError):
        return f"uid {uid}"
