"""`make demo`: a real Slurm cluster with people and pretend GPUs, and the console on it, until Ctrl-C.

`python -m tests.harness.demo code NAME` prints a person's current one-time code, as their phone would.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import pyotp

from backend.agent.telemetry.batch import node_key
from tests.harness import Cluster, images
from tests.harness.console import Console
from tests.harness.errors import HarnessError
from tests.harness.gpu_life import GpuLife
from tests.harness.nodes import start_node_service
from tests.harness.slurm import NODES

FOLDER = Path("/var/tmp/carme-demo")
SECRETS = FOLDER / "factors.json"
NEWS = """\
# Welcome to the demonstration cluster

Real Slurm, MariaDB, slapd and Apptainer run on this one machine; its GPUs and most of its cores are pretended.
"""
PROJECTS = """\
[[project]]
name = "sky-survey"
title = "Survey of the southern sky"
accounts = ["astro"]

[[project]]
name = "protein-folding"
title = "Protein folding"
accounts = ["biology"]
"""


def print_code(name: str) -> int:
    """Print NAME's current code and how long it holds."""
    try:
        secret = json.loads(SECRETS.read_text())[name]
    except (OSError, KeyError):
        print(f"No running demo knows {name}.", file=sys.stderr)
        return 1
    print(f"{pyotp.TOTP(secret).now()}   (for {30 - int(time.time()) % 30} s more)")
    return 0


def measure_all_jobs(cluster: Cluster, console: Console) -> None:
    """The node service on every node, so that plain jobs have curves as sessions do."""
    console.cli("agent", "node-key", NODES[0].name)  # makes the master key where there is none
    master = (console.data_dir / "telemetry-node.key").read_text().strip()
    for node in NODES:
        start_node_service(cluster, node.name, console=console.url, key=node_key(master, node.name))


def run() -> int:
    """Bring everything up, say how to use it, and take it all down on Ctrl-C or SIGTERM."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(mode=0o755, parents=True)
    print("Starting the cluster (packages and the container image are fetched or built the first time) ...")
    provided = images.provide()
    with Cluster.up(folder=FOLDER / "cluster", name="demo") as cluster:
        news = cluster.make_folder("news", mode=0o755) / "news.md"
        news.write_text(NEWS)
        projects = cluster.make_folder("projects", mode=0o755) / "projects.toml"
        projects.write_text(PROJECTS)
        console = Console.on(
            cluster,
            {
                "accounting": {"projects_file": str(projects)},
                "instance": {"name": "Carme demo", "news_file": str(news)},
                "sessions": {
                    "runtime": "apptainer",
                    "runtime_command": provided.apptainer,
                    "images": [{"name": "JupyterLab", "path": provided.image, "apps": ["jupyterlab"]}],
                },
            },
        )
        life = GpuLife(cluster)
        life.start()
        try:
            measure_all_jobs(cluster, console)
            factors = {name: console.enrol(name) for name in cluster.people}
            SECRETS.touch(mode=0o600)
            SECRETS.write_text(json.dumps(factors))
            print(f"\nThe console: {console.url}\n\nPeople (name, password, who they are):")
            for name, person in cluster.people.items():
                print(f"  {name:8} {person.password:20} {', '.join(person.accounts)}")
            print("\nA person's current one-time code:  make demo-code NAME=ada")
            print("Slurm's own commands:  .venv/bin/python -m tests.harness run --folder "
                  f"{FOLDER / 'cluster'} -- squeue\nCtrl-C takes all of it down.", flush=True)
            while not stop.wait(1):
                if any(process.poll() is not None for process in console.processes):
                    print(f"The console ended by itself. Its log ends:\n{console.log[-3000:]}", file=sys.stderr)
                    return 1
        finally:
            life.end()
            console.stop()
    shutil.rmtree(FOLDER, ignore_errors=True)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.harness.demo", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    code = commands.add_parser("code", help="print a person's current one-time code")
    code.add_argument("name")
    arguments = parser.parse_args()
    try:
        return print_code(arguments.name) if arguments.command == "code" else run()
    except (HarnessError, images.CannotProvide) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
