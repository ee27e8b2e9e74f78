"""Take the README's pictures of the real thing: `python -m tests.browser.screenshots` (as root) writes docs/images.

It takes a quarter of an hour: what is said of a running job, and which GPUs stand idle, is known only then.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page

from tests.browser.notebook import READY_MS, run_cell
from tests.browser.person import SignedUp, sign_in
from tests.conftest import apptainer_sessions
from tests.harness import Cluster, images
from tests.harness.browser import chromium
from tests.harness.console import Console
from tests.harness.demo import measure_all_jobs
from tests.harness.gpu_life import GpuLife

FOLDER = Path(__file__).resolve().parents[2] / "docs/images"
WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
TALL = {"width": 1280, "height": 1120}
MEASURED_S = 16 * 60  # the desk lists what was idle for a quarter of an hour, and verdicts want ten minutes
NEWS = """\
**Maintenance on Tuesday, 8 to 10.** Running jobs end before it; sessions can be relaunched from their cards.

New: the *JupyterLab* image carries JupyterLab 4.6.
"""
JOBS = (
    ("bob", "particle", "gpu", "a100:2", "lattice-64"),
    ("bob", "particle", "gpu", "a100:4", "lattice-96"),
    ("cleo", "physics", "gpu", "h100:4", "finetune-7b"),
    ("dora", "biology", "gpu", "h100:2", "fold-batch"),
    ("ada", "astro", "gpu", "a100:1", "spectra"),
    ("dora", "biology", "gpu", "h100:1", "fold-check"),
)
TRAINED, IDLE = "finetune-7b", "fold-batch"
# Loads a batch in bursts and keeps more and more in memory.
TRAINING = """python3 -c '
import time
kept = []
for turn in range(3600):
    begun = time.time()
    while time.time() - begun < 0.04 * (1 + turn // 60 % 3): pass
    if turn % 30 == 0 and turn < 900: kept.append(bytearray(8 << 20))
    time.sleep(1)
'"""


def fill(cluster: Cluster) -> dict[str, int]:
    """Jobs of several people, an array, and a drained node; gives the numbers of the first by name."""
    numbers = {}
    for user, account, partition, gpus, name in JOBS:
        submitted = cluster.run(
            ["sbatch", "--parsable", "-A", account, "-p", partition, f"--gres=gpu:{gpus}", "-c8", "--mem=64G",
             "-t", "8:00:00", "-J", name, "--wrap", TRAINING if name == TRAINED else "sleep 3600"],
            user=user, check=True,
        )  # fmt: skip
        numbers[name] = int(submitted.stdout)
    cluster.run(
        ["sbatch", "-A", "biology", "-p", "cpu", "-c16", "--array=1-40%4", "-t", "2:00:00", "-J", "align",
         "--wrap", "sleep 3600"],
        user="dora", check=True,
    )  # fmt: skip
    cluster.drain("a100-03", "fan 3 replaced on Monday, burn-in until Wednesday")
    return numbers


def settled(page: Page) -> None:
    """Wait until nothing on the page is a skeleton any more."""
    page.wait_for_load_state("load")
    page.locator(".skeleton").first.wait_for(state="detached")
    time.sleep(1.5)  # one push, so that figures and bars stand


def launched(context: BrowserContext, console: Console, ada: SignedUp) -> None:
    """A session that is ready, used once."""
    page = context.new_page()
    sign_in(page, console, ada)
    page.get_by_role("button", name=re.compile("JupyterLab on A100")).click(timeout=READY_MS)
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_role("button", name="Open JupyterLab").wait_for(timeout=READY_MS)
    with page.expect_popup() as opened:
        page.get_by_role("button", name="Open JupyterLab").click()
    lab = opened.value
    lab.set_viewport_size(WIDE)  # type: ignore[arg-type]
    run_cell(lab, "import os; os.environ['CUDA_VISIBLE_DEVICES']", "'")
    lab.screenshot(path=FOLDER / "jupyterlab.png")
    lab.close()
    page.close()


def take(browser: Browser, context: BrowserContext, cluster: Cluster, console: Console) -> Page:
    """Every picture that needs no wait; gives the page of an operator."""
    for name, path, size, scheme in (
        ("home", "/", WIDE, "light"),
        ("home-dark", "/", WIDE, "dark"),
        ("cluster", "/cluster", WIDE, "light"),
        ("launch", "/launch", WIDE, "light"),
        ("sessions", "/sessions", WIDE, "light"),
        ("phone", "/", PHONE, "light"),
    ):
        page = context.new_page()
        page.set_viewport_size(size)  # type: ignore[arg-type]
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.goto(console.url + path)
        settled(page)
        page.screenshot(path=FOLDER / f"{name}.png")
        page.close()
    operator = browser.new_page(viewport=WIDE)  # type: ignore[arg-type]
    dora = SignedUp("dora", cluster.people["dora"].password, console.enrol("dora"))
    sign_in(operator, console, dora)
    operator.goto(console.url + "/jobs?who=all")
    settled(operator)
    operator.screenshot(path=FOLDER / "jobs.png")
    visitor = browser.new_page(viewport=WIDE)  # type: ignore[arg-type]
    visitor.goto(console.url + "/login")
    visitor.screenshot(path=FOLDER / "sign-in.png")
    visitor.close()
    return operator


def take_measured(operator: Page, console: Console, trained: int) -> None:
    """What is known of jobs that have been measured for a while."""
    operator.set_viewport_size(TALL)  # type: ignore[arg-type]
    operator.goto(f"{console.url}/job?id={trained}")
    settled(operator)
    operator.screenshot(path=FOLDER / "job.png")
    operator.set_viewport_size(WIDE)  # type: ignore[arg-type]
    operator.goto(f"{console.url}/waste?idle=15")
    settled(operator)
    operator.screenshot(path=FOLDER / "waste.png")
    operator.close()


def main() -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with Cluster.up(name="demo") as cluster, chromium() as browser:
        news = cluster.make_folder("news", mode=0o755) / "news.md"
        news.write_text(NEWS)
        settings = {"instance": {"news_file": str(news)}, "sessions": apptainer_sessions(images.provide())}
        console = Console.on(cluster, settings)
        idle: set[int] = set()
        life = GpuLife(cluster, idle)
        life.start()
        try:
            measure_all_jobs(cluster, console)
            numbers = fill(cluster)
            begun_s = time.monotonic()
            idle.add(numbers[IDLE])
            ada = SignedUp("ada", cluster.people["ada"].password, console.enrol("ada"))
            context = browser.new_context(viewport=WIDE)  # type: ignore[arg-type]
            launched(context, console, ada)
            time.sleep(90)  # a poll of the nodes has seen the session, and its lines have begun
            operator = take(browser, context, cluster, console)
            time.sleep(max(0.0, begun_s + MEASURED_S - time.monotonic()))
            take_measured(operator, console, numbers[TRAINED])
        finally:
            life.end()
            console.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
