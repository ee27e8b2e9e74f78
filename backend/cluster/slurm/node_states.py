"""The states of nodes: a base, flags, and the many short forms that Slurm's commands write them in."""

from __future__ import annotations

NODE_STATES = frozenset(["IDLE", "MIXED", "ALLOCATED", "DOWN", "UNKNOWN", "FUTURE", "ERROR"])
# A node with one of these takes no new jobs (RESERVED and PLANNED ones do, for whom they are kept)
UNAVAILABLE_STATES = frozenset(["DOWN", "UNKNOWN", "FUTURE", "ERROR"])
UNAVAILABLE_FLAGS = frozenset(
    [
        "BLOCKED",
        "DRAIN",
        "DYNAMIC_FUTURE",
        "FAIL",
        "INVALID_REG",
        "MAINTENANCE",
        "NOT_RESPONDING",
        "POWERING_DOWN",
        "POWER_DOWN",
        "REBOOT_ISSUED",
    ]
)
# The short marks some commands put behind a state
SUFFIXES = {
    "*": "NOT_RESPONDING",
    "$": "MAINTENANCE",
    "~": "POWERED_DOWN",
    "#": "POWERING_UP",
    "%": "POWERING_DOWN",
    "!": "POWER_DOWN",
    "@": "REBOOT_REQUESTED",
    "^": "REBOOT_ISSUED",
    "-": "PLANNED",
    "+": "COMPLETING",
}
# Older and compact names of the same things
ALIASES = {
    "DRAINED": ("IDLE", "DRAIN"),
    "DRAINING": ("MIXED", "DRAIN"),
    "FAILING": ("MIXED", "FAIL"),
    "MAINT": ("IDLE", "MAINTENANCE"),
    "REBOOT": ("IDLE", "REBOOT_REQUESTED"),
    "REBOOT^": ("IDLE", "REBOOT_ISSUED"),
    "POWERED_DOWN": ("IDLE", "POWERED_DOWN"),
    "POWERING_DOWN": ("IDLE", "POWERING_DOWN"),
    "POWERING_UP": ("IDLE", "POWERING_UP"),
    "POWER_DOWN": ("IDLE", "POWER_DOWN"),
    "POWER_UP": ("IDLE", "POWERING_UP"),
    "RESERVED": ("IDLE", "RESERVED"),
    "PLANNED": ("IDLE", "PLANNED"),
    "COMPLETING": ("ALLOCATED", "COMPLETING"),
    "BLOCKED": ("IDLE", "BLOCKED"),
    "FAIL": ("DOWN", "FAIL"),
}
FLAG_ALIASES = {"MAINT": "MAINTENANCE", "NO_RESPOND": "NOT_RESPONDING", "REBOOT": "REBOOT_REQUESTED"}


def node_state(shown: str) -> tuple[str, list[str]]:
    """Base state and flags of `IDLE+DRAIN`, `MIXED*+PLANNED`, `DOWN~`, `DRAINED`, …, of any text."""
    base = ""
    flags: list[str] = []
    for raw in shown.upper().replace(",", "+").split("+"):
        word = raw
        marks = []
        while word and word[-1] in SUFFIXES:
            marks.append(SUFFIXES[word[-1]])
            word = word[:-1]
        if word in NODE_STATES and not base:
            base = word
        elif word and not base and word in ALIASES:
            base, flag = ALIASES[word]
            flags.append(flag)
        elif word:
            flags.append(FLAG_ALIASES.get(word, word))
        elif not marks and base:  # a "+" with nothing behind it is the mark of a completing node
            flags.append(SUFFIXES["+"])
        flags.extend(marks)
    return base or "UNKNOWN", list(dict.fromkeys(flags))
