"""The main job on the embedded default, as a newcomer does it: from the printed link to a stopped notebook."""

from __future__ import annotations

import getpass
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pyotp
import pytest
from playwright.sync_api import Browser, expect

from tests.browser.notebook import READY_MS, run_cell
from tests.browser.person import SignedUp
from tests.harness import nvml
from tests.harness.console import Console


@pytest.fixture
def fresh_console(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Console]:
    """An empty data folder, and two pretend A100s by the NVML library of the tests."""
    monkeypatch.setenv("LD_LIBRARY_PATH", str(nvml.build(tmp_path)))
    console = Console.embedded(tmp_path / "instance")
    yield console
    console.stop()


def printed_link(console: Console) -> str:
    """The set-up link, as it appears in the terminal."""
    deadline = time.monotonic() + 10
    while not (found := re.search(rf"{re.escape(console.url)}/setup\S+", console.log)):
        assert time.monotonic() < deadline, console.log
        time.sleep(0.1)
    return found[0]


def test_a_newcomer_gets_from_the_printed_link_to_a_running_notebook_and_stops_it(
    browser: Browser, fresh_console: Console
) -> None:
    console = fresh_console
    link = printed_link(console)
    me = SignedUp(getpass.getuser() if os.getuid() else "root", "a long enough Passphrase 1", "")
    page = browser.new_page()

    page.goto(link)
    page.get_by_label("User name").fill(me.name)
    page.get_by_label("Password", exact=True).fill(me.password)
    page.get_by_label("Password again").fill(me.password)
    page.get_by_role("button", name="Create account").click()
    if page.get_by_role("button", name="Sign in").count():
        page.get_by_label("User name").fill(me.name)
        page.get_by_label("Password", exact=True).fill(me.password)
        page.get_by_role("button", name="Sign in").click()
    me.secret = page.locator(".key").inner_text().replace(" ", "")
    assert pyotp.TOTP(me.secret).provisioning_uri()
    page.get_by_label("Code").fill(me.code())
    page.get_by_role("button", name="Confirm").click()
    expect(page.locator("#codes li")).to_have_count(10)
    page.get_by_role("link", name="I have kept them").click()

    page.get_by_role("button", name=re.compile("JupyterLab on A100")).click(timeout=READY_MS)
    page.get_by_role("button", name="Start", exact=True).click()

    open_button = page.get_by_role("button", name="Open JupyterLab")
    open_button.wait_for(timeout=READY_MS)
    with page.expect_popup() as opened:
        open_button.click()
    run_cell(opened.value, "import os; print('gpu:', os.environ['CUDA_VISIBLE_DEVICES'])", "gpu: 0")

    page.get_by_role("button", name=re.compile("^Stop ")).first.click()
    page.get_by_role("dialog").get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_text("Ended").first).to_be_visible(timeout=READY_MS)
