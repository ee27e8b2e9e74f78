"""Embeds: how many requests a second one web process answers, and what a hundred viewers of one figure cost.

A real console over CARME_BENCH_EMBED_JOBS synthetic jobs (200,000); the figure is CPU hours by month and account. The
client runs beside it on the same machine.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import aiohttp
import requests

from backend.accounting.reports import read_saved
from backend.accounting.warehouse import Warehouse
from backend.services import Services, open_services
from config import load_settings
from tests.bench import Figure
from tests.bench._console import cpu_s, embedded, percentile
from tests.bench._jobs import CLUSTER, accounts, job_tables
from tests.harness.console import Console

JOBS = int(os.environ.get("CARME_BENCH_EMBED_JOBS", "200000"))
SECONDS = float(os.environ.get("CARME_BENCH_EMBED_SECONDS", "10"))
CONNECTIONS = 32
VIEWERS = 100
SITE = "https://wiki.example.org"


def fill(console: Console) -> Services:
    """The accounts, and ada who sees all of them. Gives this process's own services on the same data."""
    with Warehouse.write(console.data_dir / "accounting", zone="UTC") as writer:
        for table in job_tables(JOBS):
            writer.upsert(table, None, cluster=CLUSTER)
        writer.put_table(CLUSTER, "accounts", accounts())
        writer.set_state(CLUSTER, source="sacct", synced_s=int(time.time()))
        writer.commit()
    console.add_person("ada", roles=["admin"])
    return open_services(load_settings(console.config, {"CARME_DATA": str(console.data_dir)}))


def make(console: Console, services: Services, number: int) -> str:
    """The address of the figures of a new embed; each asks for another stretch of time."""
    viewer = services.identity.standing("ada")
    assert viewer is not None
    window = {"since": f"2022-{number + 1:02d}-01", "until": "2026-01-01"}
    question = read_saved({"metrics": ["cpu_hours"], "by": ["month", "account"], **window}, "UTC")
    info = services.embeds.make(viewer, title="Hours", question=question, chart="table", origins=[SITE], live=True)
    return f"{console.url}/embed/{info.token}/figures"


def computed(console: Console) -> int:
    """Figures the web process has computed for embeds so far."""
    told = requests.get(console.url + "/metrics", timeout=10).text
    found = re.search(r"^carme_web_embed_figures_total (\d+)", told, re.M)
    assert found
    return int(found[1])


@dataclass
class Load:
    """Answers, and how long each took."""

    took_s: list[float] = field(default_factory=list)
    seconds: float = 0.0
    bytes: int = 0

    @property
    def per_s(self) -> float:
        return len(self.took_s) / self.seconds


async def one(http: aiohttp.ClientSession, url: str, tag: str, load: Load) -> str:
    began = time.perf_counter()
    async with http.get(url, headers={"If-None-Match": tag} if tag else {}) as answer:
        load.bytes += len(await answer.read())
        assert answer.status == (304 if tag else 200), answer.status
        load.took_s.append(time.perf_counter() - began)
        return answer.headers["ETag"]


async def hammer(url: str, *, unchanged: bool) -> Load:
    """As many requests as it answers. `unchanged`: by browsers that have the figures already."""
    load = Load()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as http:
        tag = await one(http, url, "", Load())
        began = time.perf_counter()

        async def viewer() -> None:
            while time.perf_counter() - began < SECONDS:
                await one(http, url, tag if unchanged else "", load)

        await asyncio.gather(*(viewer() for _ in range(CONNECTIONS)))
        load.seconds = time.perf_counter() - began
    return load


async def at_once(url: str, viewers: int) -> Load:
    """So many at the same moment, of a figure nobody has asked for yet."""
    load = Load()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=viewers)) as http:
        began = time.perf_counter()
        await asyncio.gather(*(one(http, url, "", load) for _ in range(viewers)))
        load.seconds = time.perf_counter() - began
    return load


def figures() -> Iterator[Figure]:
    with embedded() as console:
        services = fill(console)
        (web,) = console.role_pids("web")
        asyncio.run(at_once(make(console, services, 0), 1))  # what the first question loads
        alone = asyncio.run(at_once(make(console, services, 1), 1))
        before, cpu_before = computed(console), cpu_s(web)
        together = asyncio.run(at_once(make(console, services, 2), VIEWERS))
        made, cpu_spent = computed(console) - before, cpu_s(web) - cpu_before
        url = make(console, services, 3)
        whole = asyncio.run(hammer(url, unchanged=False))
        unchanged = asyncio.run(hammer(url, unchanged=True))
        services.db.close()
    size = f"{whole.bytes / len(whole.took_s) / 1024:.0f} KB an answer"
    against = f"{JOBS:,} jobs, one web process, {CONNECTIONS} connections, {size}"
    yield Figure("embed_requests_per_s", whole.per_s, "1/s", ">= 300", against)
    yield Figure("embed_p95_ms", percentile(whole.took_s, 95) * 1000, "ms", "", against)
    yield Figure("embed_unchanged_requests_per_s", unchanged.per_s, "1/s", ">= 300", against + " before, 304")
    yield Figure("embed_first_viewer_ms", alone.seconds * 1000, "ms", "", "one viewer of a figure nobody asked for yet")
    yield Figure("embed_100_viewers_ms", together.seconds * 1000, "ms", "", f"{VIEWERS} at the same moment")
    yield Figure("embed_100_viewers_computations", made, "computations", "<= 1", f"{VIEWERS} at the same moment")
    yield Figure("embed_100_viewers_cpu_s", cpu_spent, "s", "", f"{VIEWERS} at the same moment")
