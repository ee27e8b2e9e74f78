"""Usage on the real cluster: a job that runs now is in its owner's figures, and in nobody else's."""

from __future__ import annotations

import re
import time

from playwright.sync_api import Browser, expect

from tests.browser.person import SignedUp, sign_in
from tests.harness import Cluster
from tests.harness.console import Console

VISIBLE_MS = 90_000  # from a job's beginning, or its end, to its figure


def test_a_running_job_is_in_its_owners_figures_and_in_nobody_elses(
    browser: Browser, cluster: Cluster, cluster_console: Console
) -> None:
    submitted = cluster.run(
        ["sbatch", "--parsable", "-p", "gpu", "--gres=gpu:a100:2", "-t", "10", "-J", "lattice", "--wrap", "sleep 600"],
        user="bob", check=True,
    )  # fmt: skip
    job_id = submitted.stdout.strip().split(";")[0]
    try:
        bob = SignedUp("bob", cluster.people["bob"].password, cluster_console.enrol("bob"))
        page = browser.new_context(viewport={"width": 1360, "height": 900}).new_page()
        sign_in(page, cluster_console, bob)
        began = time.monotonic()
        page.goto(f"{cluster_console.url}/usage?metric=gpu_hours&window=today&cell={{}}")
        drawer = page.get_by_role("dialog")
        line = drawer.locator(".drill-list li").filter(has=page.get_by_role("link", name=job_id, exact=True))
        expect(line).to_be_visible(timeout=VISIBLE_MS)
        assert time.monotonic() - began < VISIBLE_MS / 1000
        expect(line).to_contain_text("so far")
        expect(line).to_contain_text(re.compile("2 × A100"))
        exact = [
            float(each)
            for each in drawer.locator(".drill-head > strong:last-child").evaluate_all(
                "all => all.map((el) => el.title)"
            )
        ]
        assert abs(sum(exact) - float(drawer.locator(".drill-sum strong").get_attribute("title") or "nan")) < 1e-9
        page.keyboard.press("Escape")
        expect(page.locator(".usage-figures .tag")).to_have_text("so far")

        ada = SignedUp("ada", cluster.people["ada"].password, cluster_console.enrol("ada"))
        other = browser.new_context().new_page()
        sign_in(other, cluster_console, ada)
        other.goto(f"{cluster_console.url}/usage?metric=gpu_hours&window=today&who=all&user=bob&cell={{}}")
        expect(other.get_by_role("dialog")).to_contain_text("No jobs", timeout=30_000)
    finally:
        cluster.run(["scancel", job_id], user="bob")
