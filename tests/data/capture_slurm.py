"""Record what this machine's Slurm answers, for the parsers' tests.

    SLURM_CONF=… python -m tests.data.capture_slurm tests/data/slurm-22.05

Run it against a cluster of the harness with jobs in as many states as possible, never against a site's: names
of machines and the kernel are replaced, names of people and jobs are not.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from pathlib import Path

from backend.cluster.slurm import limits
from backend.cluster.slurm.command import Commands, Marks
from backend.cluster.slurm.ended import FIELDS as SACCT_FIELDS
from backend.cluster.slurm.jobs import job_format


def capture(folder: Path, commands: Commands) -> None:
    """One file a command, and the marks that separate fields in two of them."""
    folder.mkdir(parents=True, exist_ok=True)
    marks = Marks.draw()
    release = commands.run("squeue", "--version").strip()
    facts = {"release": release, "field": marks.field, "row": marks.row}
    (folder / "marks.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    queue = ("--noheader", "--all", "--local", "--states=all", f"--Format={job_format(marks)}")
    answers = {
        "squeue": ("squeue", *queue),
        "nodes": ("scontrol", "--all", "--details", "--oneliner", "show", "node"),
        "partitions": ("scontrol", "--all", "--oneliner", "show", "partition"),
        "reservations": ("scontrol", "--all", "--oneliner", "show", "reservation"),
        "assoc_mgr": ("scontrol", "--oneliner", "show", "assoc_mgr", "flags=assoc,qos"),
        "sacct": (
            "sacct", "--noheader", "--allusers", "--local", "--duplicates", "--parsable",
            f"--delimiter={marks.field}", "--starttime=now-1day", f"--format={','.join(SACCT_FIELDS)}",
        ),
        **{what: _names(what, fields) for what, fields in _NAMES.items()},
        **{
            f"{what}_texts": ("sacctmgr", "--noheader", "show", what, "format=" + _widths(columns))
            for what, columns in _TEXTS.items()
        },
    }  # fmt: skip
    for name, command in answers.items():
        (folder / f"{name}.txt").write_bytes(_anonymous(commands.run_bytes(*command)))


_NAMES = {
    "association": limits.ASSOCIATION_FIELDS,
    "qos": limits.QOS_FIELDS,
    "user": limits.USER_FIELDS,
    "account": limits.COORDINATOR_FIELDS,
}
_TEXTS = {"account": limits.DESCRIPTION_COLUMNS, "qos": limits.QOS_DESCRIPTION_COLUMNS}


def _names(what: str, fields: tuple[str, ...]) -> tuple[str, ...]:
    more = ("withcoord",) if what == "account" else ()
    return ("sacctmgr", "--noheader", "--parsable2", "show", what, *more, f"format={','.join(fields)}")


def _widths(columns: tuple[tuple[str, int], ...]) -> str:
    return ",".join(f"{name}%{width}" for name, width in columns)


def _anonymous(answer: bytes) -> bytes:
    answer = answer.replace(socket.gethostname().encode(), b"controller")
    return re.sub(rb"OS=Linux .*? (?=RealMemory)", b"OS=Linux 6.1.0-9-amd64 #1 SMP  ", answer)


if __name__ == "__main__":
    conf = os.environ.get("SLURM_CONF")
    capture(Path(sys.argv[1]), Commands(None, Path(conf) if conf else None, 60.0))
