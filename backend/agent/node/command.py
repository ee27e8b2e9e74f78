"""The node service's command line, the same for `carme agent node` and `agent.pyz node`."""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
from collections.abc import Mapping
from typing import TextIO

from ..http_post import parsed
from ..log import log
from ..step import ENDING, node_name
from ..telemetry.push import Door
from .service import NodeService

LAST_WORD_S = 2.0
DESCRIPTION = (
    "Looks at every job of this node each few seconds, sends what it saw to the console, and shows it to Prometheus. "
    "Best run as root: an unprivileged account sees everything but the disk traffic of jobs without cgroups and the "
    "MIG instances of idle jobs."
)
_KEY = re.compile(r"[0-9a-f]{64}")
_TOKEN = re.compile(r"[!-~]{16,}")


class NodeWrong(Exception):
    """The service can't be run like this; the message says why."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What it may be told."""
    parser.add_argument("--console", metavar="URL", default="", help="the console's address; else nothing is sent")
    parser.add_argument("--key-file", metavar="FILE", help="holds this node's key (0600), from "
                        "`carme agent node-key NODE` on the console's machine")  # fmt: skip
    parser.add_argument("--ca", metavar="FILE", help="certificates to trust instead of this machine's")
    parser.add_argument("--listen", metavar="ADDRESS:PORT", default="", help="show /metrics there; or unix:PATH")
    parser.add_argument("--token-file", metavar="FILE", help="holds the bearer token (0600) that readers of "
                        "/metrics send")  # fmt: skip
    parser.add_argument("--open", action="store_true", help="show /metrics to all who reach the address")
    parser.add_argument("--node", metavar="NAME", default="", help="as Slurm calls it (default: the host's name)")
    parser.add_argument("--cluster", metavar="NAME", default="", help="for Prometheus (default: scontrol is asked)")
    parser.add_argument("--every", type=float, metavar="S", default=10.0, help="seconds between two looks (10)")


def run(options: argparse.Namespace, env: Mapping[str, str]) -> int:
    """Run until a signal ends it. Raises NodeWrong."""
    node = options.node or node_name(env)
    door = _door(options, node)
    if door is None and not options.listen:
        raise NodeWrong("--console, --listen or both are wanted: nobody would see what is measured")
    token = _token(options)
    if not 0.1 <= options.every <= 3600:
        raise NodeWrong("--every wants seconds, from 0.1 to an hour")
    cluster = options.cluster or (cluster_name() if options.listen else "")
    try:
        service = NodeService(
            node=node, cluster=cluster, door=door, listen=options.listen, token=token, every_s=options.every, say=log
        )
    except (OSError, ValueError) as error:
        raise NodeWrong(f"can't listen on {options.listen}: {error}") from error
    for number in ENDING:
        signal.signal(number, lambda *_: service.end())
    log(f"looking at the jobs of node {node}")
    service.run(LAST_WORD_S)
    return 0


def _door(options: argparse.Namespace, node: str) -> Door | None:
    if not options.console:
        return None
    try:
        parsed(options.console)
    except ValueError as error:
        raise NodeWrong(f"--console wants http(s)://host:port: {error}") from error
    if options.key_file is None:
        raise NodeWrong("--console wants --key-file")
    try:
        ca_pem = ""
        if options.ca is not None:
            with _opened(options.ca) as file:
                ca_pem = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise NodeWrong(f"{options.ca} can't be read: {error}") from error
    return Door(options.console, f"node:{node}", read_key(options.key_file), ca_pem)


def _token(options: argparse.Namespace) -> str:
    """What /metrics asks for; "" is nothing, where a unix socket's mode keeps others out or the site wants it so."""
    if options.token_file is not None:
        return _secret(options.token_file, _TOKEN, "holds no token: 16 characters or more, without spaces")
    if options.listen and not options.listen.startswith("unix:") and not options.open:
        raise NodeWrong(
            "--listen wants --token-file: everybody on this node would see everybody's jobs (--open allows it)"
        )
    return ""


def read_key(path: str) -> str:
    """The key of a file that is closed to others. Raises NodeWrong."""
    return _secret(path, _KEY, "holds no node key: `carme agent node-key NODE` prints one")


def _secret(path: str, shape: re.Pattern[str], wrong: str) -> str:
    try:
        with _opened(path) as file:
            status = os.fstat(file.fileno())
            if status.st_mode & 0o077 or status.st_uid not in (0, os.geteuid()):
                raise NodeWrong(f"{path} must be root's or this account's, and closed to others (0600)")
            secret = file.read(4096).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise NodeWrong(f"{path} can't be read: {error}") from error
    if not shape.fullmatch(secret):
        raise NodeWrong(f"{path} {wrong}")
    return secret


def _opened(path: str) -> TextIO:
    return open(path, encoding="ascii")  # noqa: PTH123 - pathlib would take 0.6 MB of every node


def cluster_name() -> str:
    """Slurm's own name of the cluster; "" where it can't be asked."""
    try:
        done = subprocess.run(
            ["scontrol", "show", "config"], stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    found = re.search(rb"^ClusterName\s*=\s*(\S+)", done.stdout, re.MULTILINE)
    return found[1].decode("ascii", "replace") if found else ""


def main(argv: list[str]) -> int:
    """`agent.pyz node …`."""
    parser = argparse.ArgumentParser(prog="agent.pyz node", description=DESCRIPTION)
    add_arguments(parser)
    try:
        return run(parser.parse_args(argv), os.environ)
    except NodeWrong as error:
        log(str(error))
        return 2
