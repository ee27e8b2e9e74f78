"""From the click to a usable JupyterLab, against the same image started by a bare sbatch, in turn."""

from __future__ import annotations

import re
import secrets
import statistics
import time
from collections.abc import Iterator

import requests
from playwright.sync_api import BrowserContext

from tests.bench import Figure
from tests.bench._console import on_cluster, person
from tests.browser.person import sign_in
from tests.harness import Cluster, images
from tests.harness.browser import chromium
from tests.harness.console import Console
from tests.harness.ports import free_port

ROUNDS = 5
USABLE = ".jp-LauncherCard"
BARE = """#!/bin/bash
exec {apptainer} exec --bind "$HOME" {image} jupyter lab --no-browser --ip=127.0.0.1 --port={port} \
    --ServerApp.root_dir="$HOME" --IdentityProvider.token={token}
"""


def by_console(context: BrowserContext, console: Console) -> float:
    """Click on Home's tile and Start, open when the button is there; gives seconds until JupyterLab is usable."""
    page = context.new_page()
    page.goto(console.url)
    page.get_by_role("button", name=re.compile("JupyterLab on A100")).click()
    start = page.get_by_role("button", name="Start", exact=True)
    start.wait_for()
    began = time.perf_counter()
    start.click()
    button = page.get_by_role("button", name="Open JupyterLab")
    button.wait_for(timeout=60_000)
    with page.expect_popup() as opened:
        button.click()
    opened.value.locator(USABLE).first.wait_for(timeout=60_000)
    took_s = time.perf_counter() - began
    opened.value.close()
    page.get_by_role("button", name=re.compile("^Stop ")).first.click()
    page.get_by_role("dialog").get_by_role("button", name="Stop", exact=True).click()
    page.get_by_role("button", name="Open JupyterLab").wait_for(state="detached", timeout=60_000)
    page.close()
    return took_s


def by_sbatch(context: BrowserContext, cluster: Cluster, provided: images.Provided) -> float:
    """What a person at a terminal does: sbatch, wait for the server to answer, open its address."""
    port, token = free_port(), secrets.token_hex(16)
    script = BARE.format(apptainer=provided.apptainer, image=provided.image, port=port, token=token)
    began = time.perf_counter()
    done = cluster.run(
        ["sbatch", "--parsable", "-A", "astro", "-p", "gpu", "--gres=gpu:a100:1", "-o", "/dev/null"],
        user="ada", input=script,
    )  # fmt: skip
    job = done.stdout.strip()
    assert job, done.stderr
    address = f"http://127.0.0.1:{port}"
    while True:
        try:
            if requests.get(f"{address}/api", timeout=1).ok:
                break
        except requests.ConnectionError:
            time.sleep(0.1)
        assert time.perf_counter() - began < 60, "the bare JupyterLab did not come up"
    page = context.new_page()
    page.goto(f"{address}/lab?token={token}")
    page.locator(USABLE).first.wait_for(timeout=60_000)
    took_s = time.perf_counter() - began
    page.close()
    cluster.run(["scancel", job])
    return took_s


def figures() -> Iterator[Figure]:
    provided = images.provide()
    with on_cluster() as (cluster, console), chromium() as browser:
        context = browser.new_context()
        page = context.new_page()
        sign_in(page, console, person(console, "ada"))
        page.close()
        ours, bare = [], []
        for number in range(ROUNDS + 1):
            pair = by_console(context, console), by_sbatch(context, cluster, provided)
            if number:  # the first fills the caches of both
                ours.append(pair[0])
                bare.append(pair[1])
    yield Figure("click_to_jupyterlab_s", statistics.median(ours), "s")
    yield Figure("sbatch_to_jupyterlab_s", statistics.median(bare), "s")
    added = statistics.median(mine - theirs for mine, theirs in zip(ours, bare, strict=True))
    yield Figure("click_to_jupyterlab_added_s", added, "s", "<= 2", "the same image by a bare sbatch, in turn")
