"""Which columns a listing of sacct has: as given, or as its first line says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# sacct's fields that mean the same; the first found counts.
SAME = {
    "cpus": ("alloccpus", "ncpus"),
    "nodes": ("allocnodes", "nnodes"),
    "req_nodes": ("reqnodes", "nnodes"),
    "energy": ("consumedenergyraw",),
}
FREE_TEXT = ("jobname", "comment", "admincomment", "systemcomment", "workdir", "submitline", "extra")
NEEDED = ("submit", "start", "end", "state")
# What makes a line a header: fields that every useful listing has.
_ALWAYS = frozenset([*NEEDED, "jobid"])


class UnknownColumns(Exception):
    """What the columns are can't be told, or one that is needed lacks: the message says which."""


@dataclass(frozen=True)
class Columns:
    """Names in lower case, in the order of the listing."""

    names: tuple[str, ...]

    def __contains__(self, name: str) -> bool:
        return name in self.names

    @property
    def last_may_hold_pipes(self) -> bool:
        """A text of the user's in the last column: every further `|` belongs to it."""
        return self.names[-1] in FREE_TEXT


def columns_of(words: Sequence[str]) -> Columns:
    """Columns from their names; sacct's widths (`jobname%50`) are left out. Raises UnknownColumns."""
    names = tuple(word.strip().lower().partition("%")[0] for word in words)
    if "jobid" not in names and "jobidraw" not in names:
        raise UnknownColumns("a column JobIDRaw (or JobID) is needed")
    if missing := [name for name in NEEDED if name not in names]:
        raise UnknownColumns(f"columns that are needed and lack: {', '.join(missing)}")
    if "user" not in names and "uid" not in names:
        raise UnknownColumns("a column User (or UID) is needed")
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise UnknownColumns(f"columns that come twice: {', '.join(doubled)}")
    return Columns(names)


def is_header(line: str) -> bool:
    """Whether a line names columns instead of a job."""
    names = {word.strip().lower() for word in line.split("|")}
    return len(names & _ALWAYS) >= 3
