"""What the console asks of slurmctld: RPCs a minute, counted by `sdiag`, with one open page and with fifty."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator

from tests.bench import Figure
from tests.bench._console import on_cluster, person, visitor
from tests.bench._pages_client import open_pages
from tests.harness import Cluster

MINUTES = float(os.environ.get("CARME_BENCH_RPC_MINUTES", "5"))
BY_USER = re.compile(r"^\s+carme\s+\(\s*\d+\) count:(\d+)", re.M)


def rpcs(cluster: Cluster) -> int:
    """RPCs of the console's account since slurmctld started."""
    text = cluster.run(["sdiag"]).stdout
    found = BY_USER.search(text)
    return int(found[1]) if found else 0


def figures() -> Iterator[Figure]:
    with on_cluster() as (cluster, console):
        signed_in = visitor(console, person(console, "ada"))
        cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in signed_in.http.cookies)
        rates = {}
        for pages in (1, 50):
            with open_pages(console, [cookies], pages):
                time.sleep(20)
                before, began = rpcs(cluster), time.monotonic()
                time.sleep(MINUTES * 60)
                rates[pages] = (rpcs(cluster) - before) / (time.monotonic() - began) * 60
    yield Figure("rpcs_per_minute_1_page", rates[1], "1/min", "<= 20")
    yield Figure("rpcs_per_minute_50_pages", rates[50], "1/min", "<= 20")
    yield Figure("rpcs_ratio_50_to_1", rates[50] / rates[1], "x", "<= 1.05", "one open page")
