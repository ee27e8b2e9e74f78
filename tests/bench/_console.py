"""What the figures share: a console with people, the processor time of its processes, percentiles."""

from __future__ import annotations

import contextlib
import os
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.browser.person import SignedUp
from tests.harness import Cluster, images
from tests.harness.console import Console
from tests.harness.visitor import Visitor

TICKS = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def embedded() -> Iterator[Console]:
    """The embedded default, for the length of a `with`."""
    with tempfile.TemporaryDirectory(prefix="carme-bench-") as folder:
        console = Console.embedded(Path(folder))
        try:
            yield console
        finally:
            console.stop()


@contextlib.contextmanager
def on_cluster() -> Iterator[tuple[Cluster, Console]]:
    """A real cluster and a console on it, sessions in Apptainer."""
    provided = images.provide()
    with Cluster.up() as cluster:
        console = Console.on(
            cluster,
            {
                "sessions": {
                    "runtime": "apptainer",
                    "runtime_command": provided.apptainer,
                    "images": [{"name": "JupyterLab", "path": provided.image, "apps": ["jupyterlab"]}],
                }
            },
        )
        try:
            yield cluster, console
        finally:
            console.stop()


def person(console: Console, name: str) -> SignedUp:
    """A person who can sign in: of the directory on a cluster, else a new local account."""
    if console.cluster is not None:
        return SignedUp(name, console.cluster.people[name].password, console.enrol(name))
    return SignedUp(name, console.add_person(name), console.enrol(name))


def visitor(console: Console, who: SignedUp) -> Visitor:
    """That person, signed in."""
    browser = Visitor(console)
    browser.give_password(who.name, who.password)
    answer = browser.give_code(who.code())
    if answer.status_code not in (302, 303):
        raise AssertionError(f"signing in failed: {answer.status_code} {answer.text[:500]}")
    return browser


def cpu_s(pid: int) -> float:
    """Processor time a process has used so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_mb(pid: int) -> float:
    """Resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES / 2**20


def percentile(values: Sequence[float], percent: float) -> float:
    """By linear interpolation."""
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=1000, method="inclusive")[round(percent * 10) - 1]
