"""`carme agent`: what the agent sees of this machine."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

from app.cli.common import Failed, WrongUse, actor, add_common, opened
from backend.agent.node import command as node
from backend.agent.sampler import Sample, Sampler, as_json
from backend.sessions.job import agent_zipapp

FIRST_S = 1.0
"""How long before the first sample the counters are looked at, so that it has rates too."""


def add_parser(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser("agent", help="this machine's telemetry", description="What the agent sees here.")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    sample = actions.add_parser(
        "sample",
        help="one sample of this machine as JSON",
        description="One sample of this machine as JSON: GPUs, jobs, host. What can't be had is null, and `missing` "
        "says why. With --every or --count, one line a sample.",
    )
    sample.add_argument("--job", type=int, action="append", metavar="ID", help="only this job; may repeat")
    sample.add_argument("--every", type=float, metavar="S", help="go on, a sample every S seconds")
    sample.add_argument("--count", type=int, metavar="N", help="end after N samples (with --every alone: never)")
    add_common(sample)
    sample.set_defaults(run=run_sample)
    about = "look at all jobs of this node, as a service"
    service = actions.add_parser("node", help=about, description=node.DESCRIPTION)
    node.add_arguments(service)
    add_common(service)
    service.set_defaults(run=run_node)
    pack = actions.add_parser(
        "pack",
        help="write the agent as one file, for nodes without this checkout",
        description="Write the agent as one file, for any Python from 3.9 on: `python3 -I agent.pyz node --help`.",
    )
    pack.add_argument("file", type=Path, metavar="FILE")
    add_common(pack)
    pack.set_defaults(run=run_pack)
    key = actions.add_parser(
        "node-key",
        help="print the key of a node's service",
        description="Print the key by which the service of a node proves itself to this console. Put it into a file "
        "of mode 0600 on that node, and nowhere else. On the console only, for its owner or root.",
    )
    key.add_argument("node", metavar="NODE", help="the node's name, as Slurm calls it")
    add_common(key)
    key.set_defaults(run=run_node_key)


def run_sample(options: argparse.Namespace) -> int:
    """Print samples; 1 when a job that was asked for is not here at the end."""
    if options.every is not None and not 0.1 <= options.every <= 86_400:
        raise WrongUse("--every wants seconds, from 0.1 to a day")
    if options.count is not None and options.count < 1:
        raise WrongUse("--count wants at least 1")
    single = options.every is None and options.count is None
    every_s = options.every if options.every is not None else 10.0
    sampler = Sampler(jobs=options.job)
    try:
        sampler.sample()
        due_s = time.monotonic() + min(FIRST_S, every_s)
        left = options.count or (1 if single else None)
        while True:
            time.sleep(max(0.0, due_s - time.monotonic()))
            sample = sampler.sample()
            print(as_json(sample, indent=2 if single else None), flush=True)
            left = left and left - 1
            if left == 0:
                return _status(sample, options.job or [])
            due_s = max(due_s + every_s, time.monotonic())
    finally:
        sampler.close()


def run_node(options: argparse.Namespace) -> int:
    """Look on until a signal comes."""
    try:
        return node.run(options, os.environ)
    except node.NodeWrong as error:
        raise WrongUse(str(error)) from error


def run_pack(options: argparse.Namespace) -> int:
    """Write the zipapp, whole or not at all."""
    new = options.file.with_name(f".{options.file.name}.new")
    try:
        new.write_bytes(agent_zipapp())
        new.chmod(0o755)
        new.replace(options.file)
    except OSError as error:
        raise WrongUse(f"{options.file} can't be written: {error.strerror}") from error
    return 0


def run_node_key(options: argparse.Namespace) -> int:
    """Print a node's key; the master key is made where there is none. The audit log has who asked for it."""
    from backend.store.audit import audit
    from backend.telemetry.intake import NODE, KeyUnusable, master_key, node_key

    if not NODE.fullmatch(options.node):
        raise WrongUse(f"{options.node!r} is no name of a node")
    with opened(options) as services:
        try:
            master = master_key(services.settings.telemetry.node_key_file)
        except KeyUnusable as error:
            raise Failed(str(error)) from error
        with services.db.begin() as tx:
            audit(tx, actor(), "telemetry.node_key", options.node)
        print(node_key(master, options.node))
    return 0


def _status(sample: Sample, wanted: list[int]) -> int:
    absent = [job for job in wanted if f"job.{job}" in sample.missing]
    for job in absent:
        print(f"carme: job {job}: {sample.missing[f'job.{job}']}", file=sys.stderr)
    return 1 if absent else 0
