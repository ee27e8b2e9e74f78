"""`python -m tests.harness`: packages, up, status, run, down.

Needs root; started by someone else it goes through sudo when that asks no password, and says so otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.harness import packages
from tests.harness.cluster import Cluster
from tests.harness.errors import HarnessError, NeedsRoot
from tests.harness.plan import CHECKOUT

FOLDER = Path("/tmp/carme-cluster")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.harness", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("packages", help="install the Debian packages that are missing")
    up = commands.add_parser("up", help="start a cluster; it ends with Ctrl-C, or by `down` with --detach")
    up.add_argument("--name", default="carme", help="ClusterName (small letters, digits, hyphens)")
    up.add_argument("--detach", action="store_true", help="leave it running")
    up.add_argument("--expose", action="append", default=[], type=Path, help="a folder all inside may reach")
    down = commands.add_parser("down", help="end every process of a cluster")
    status = commands.add_parser("status", help="facts about a running cluster as JSON")
    run = commands.add_parser("run", help="run a command inside, with this terminal")
    run.add_argument("--user", default="root")
    run.add_argument("argv", nargs=argparse.REMAINDER)
    for each in (up, down, status, run):
        each.add_argument("--folder", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    try:
        _become_root()
        return _do(arguments)
    except HarnessError as error:
        print(error, file=sys.stderr)
        return 1


def _become_root() -> None:
    """Raises NeedsRoot."""
    if os.geteuid() == 0:
        return
    try:
        may = subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        may = False
    if not may:
        raise NeedsRoot()
    os.chdir(CHECKOUT)
    os.execvp("sudo", ["sudo", "-n", sys.executable, "-m", "tests.harness", *sys.argv[1:]])


def _do(arguments: argparse.Namespace) -> int:
    if arguments.command == "packages":
        installed = packages.install()
        print(f"Installed {', '.join(installed)}." if installed else "Nothing is missing.")
    elif arguments.command == "up":
        _up(arguments)
    elif arguments.command == "down":
        Cluster.attach(arguments.folder).down()
    elif arguments.command == "status":
        cluster = Cluster.attach(arguments.folder)
        print(json.dumps({**facts(cluster), "daemons": cluster.status()}, indent=1))
    else:
        argv = arguments.argv[1:] if arguments.argv[:1] == ["--"] else arguments.argv
        if not argv:
            raise HarnessError("run: say what to run, as in `run --user ada -- squeue`.")
        cluster = Cluster.attach(arguments.folder)
        with cluster.popen(argv, arguments.user, stdin=None, new_session=False) as process:
            # Ctrl-C reaches the program by the terminal.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            return process.wait()
    return 0


def _up(arguments: argparse.Namespace) -> None:
    cluster = Cluster.up(arguments.folder, arguments.name, expose=arguments.expose, detached=arguments.detach)
    print(json.dumps(facts(cluster), indent=1), flush=True)
    if arguments.detach:
        return
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        cluster.wait_ended()
    except KeyboardInterrupt:
        cluster.down()


def facts(cluster: Cluster) -> dict[str, object]:
    """What one needs to use a cluster by hand."""
    return {
        "name": cluster.name,
        "folder": str(cluster.folder),
        "slurm_conf": str(cluster.slurm_conf),
        "ldap": [cluster.ldap_uri, cluster.ldaps_uri],
        "ldap_ca": str(cluster.ldap_ca),
        "took_s": cluster.took_s,
        "people": {
            person.name: {"password": person.password, "accounts": person.accounts}
            for person in cluster.people.values()
        },
    }


if __name__ == "__main__":
    sys.exit(main())
