"""The main job on the real cluster: a directory's person, a second factor, JupyterLab on one A100, sacct's word."""

from __future__ import annotations

import re
import time

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.notebook import READY_MS, run_cell
from tests.browser.person import SignedUp, give_password
from tests.harness import Cluster
from tests.harness.console import Console

SACCT = ["sacct", "-X", "-n", "-P", "-o", "JobID,JobName,UID,Account,AllocTRES,State"]


def sacct_row(cluster: Cluster, job_id: str) -> list[str]:
    """The accounting's row of a job, once it ended."""
    deadline = time.monotonic() + 30
    while True:
        done = cluster.run([*SACCT, "-j", job_id])
        row = done.stdout.strip().split("|")
        if len(row) == 6 and not row[5].startswith(("RUNNING", "COMPLETING", "PENDING")):
            return row
        assert time.monotonic() < deadline, done.stdout + done.stderr
        time.sleep(0.5)


@pytest.fixture
def page(browser: Browser) -> Page:
    return browser.new_context().new_page()


def test_a_person_of_the_directory_works_in_jupyterlab_on_one_a100_two_clicks_from_home(
    page: Page, cluster: Cluster, cluster_console: Console
) -> None:
    ada = cluster.people["ada"]
    me = SignedUp("ada", ada.password, "")
    # Other tests of this console may have given her a second factor; here she sets up her first.
    cluster_console.cli("user", "reset-2fa", "ada", check=False)
    give_password(page, cluster_console, me.name, me.password)
    me.secret = page.locator(".key").inner_text().replace(" ", "")
    page.get_by_label("Code").fill(me.code())
    page.get_by_role("button", name="Confirm").click()
    expect(page.locator("#codes li")).to_have_count(10)
    page.get_by_role("link", name="I have kept them").click()

    page.get_by_role("button", name=re.compile("JupyterLab on A100")).click(timeout=READY_MS)
    page.get_by_role("button", name="Start", exact=True).click()

    open_button = page.get_by_role("button", name="Open JupyterLab")
    open_button.wait_for(timeout=READY_MS)
    job_id = page.locator(".session a[href^='/job?id=']").first.inner_text()
    with page.expect_popup() as opened:
        open_button.click()
    run_cell(opened.value, "import os; print('gpu:', os.environ['CUDA_VISIBLE_DEVICES'])", "gpu: 0")

    page.get_by_role("button", name=re.compile("^Stop ")).first.click()
    page.get_by_role("dialog").get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_text("Ended").first).to_be_visible(timeout=READY_MS)

    _, name, uid, account, tres, state = sacct_row(cluster, job_id)
    assert name.startswith("carme-")
    assert int(uid) == ada.uid
    assert account in ada.accounts
    assert "gres/gpu=1" in tres.split(",")
    assert state.startswith(("CANCELLED", "COMPLETED"))
