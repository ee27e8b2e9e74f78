"""Many open pages: how soon a change is on them, what they cost, and that nothing of a closed page stays.

100 Home pages for ten minutes (CARME_BENCH_PAGES, CARME_BENCH_MINUTES), one of them in a real Chromium. The time
of an update is from the moment the collector's snapshot stands on disk until the browser's message arrives.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator

import requests

from tests.bench import Figure
from tests.bench._console import cpu_s, embedded, percentile, person, rss_mb, visitor
from tests.bench._pages_client import Watch, open_pages
from tests.browser.person import sign_in
from tests.harness.browser import chromium
from tests.harness.console import Console

PAGES = int(os.environ.get("CARME_BENCH_PAGES", "100"))
MINUTES = float(os.environ.get("CARME_BENCH_MINUTES", "10"))
PEOPLE = 5
SETTLE_S = 15
GONE_WITHIN_S = 240  # a closed page is kept for a while, for a browser that lost its network


def documents(console: Console) -> int:
    """Pages kept in memory, by the console's own count."""
    found = re.search(r"^carme_web_documents (\d+)", requests.get(console.url + "/metrics", timeout=10).text, re.M)
    assert found
    return int(found[1])


def all_closed(console: Console) -> int:
    """Wait until no page is kept any more; gives how many are after all."""
    deadline = time.monotonic() + GONE_WITHIN_S
    while documents(console) and time.monotonic() < deadline:
        time.sleep(2)
    return documents(console)


def figures() -> Iterator[Figure]:
    watch = Watch()
    with embedded() as console, chromium() as browser:
        people = [person(console, f"person{number}") for number in range(PEOPLE)]
        cookies = ["; ".join(f"{c.name}={c.value}" for c in visitor(console, who).http.cookies) for who in people]
        (web,) = console.role_pids("web")
        with open_pages(console, cookies, 10):  # what the first pages load stays
            time.sleep(SETTLE_S)
        all_closed(console)
        idle_mb = rss_mb(web)
        page = browser.new_page()
        sign_in(page, console, people[0])
        with open_pages(console, cookies, PAGES - 1, watch):
            time.sleep(SETTLE_S)
            watch.delays_s.clear()
            before, began = cpu_s(web), time.monotonic()
            time.sleep(MINUTES * 60)
            share = (cpu_s(web) - before) / (time.monotonic() - began)
            memory_mb = rss_mb(web)
        page.close()
        left = all_closed(console)
        after_mb = rss_mb(web)
    against = f"{PAGES} open Home pages, {MINUTES:g} minutes, {len(watch.delays_s)} updates"
    yield Figure("push_p50_ms", percentile(watch.delays_s, 50) * 1000, "ms", "", against)
    yield Figure("push_p95_ms", percentile(watch.delays_s, 95) * 1000, "ms", "<= 250", against)
    yield Figure("push_cpu_percent_of_a_core", share * 100, "%", "<= 15", against)
    yield Figure("push_memory_per_page_mb", (memory_mb - idle_mb) / PAGES, "MB", "<= 1.5", against)
    yield Figure("push_memory_after_closing_ratio", after_mb / idle_mb, "x", "<= 1.1", "idle before")
    yield Figure("push_documents_after_closing", left, "documents", "<= 0", against)
