"""What a person does in JupyterLab."""

from __future__ import annotations

import re

from playwright.sync_api import Page, TimeoutError, expect

READY_MS = 60_000
TRIES = 5


def run_cell(lab: Page, code: str, answer: str) -> None:
    """Open a new notebook, execute `code` in its first cell and wait until the output shows `answer`."""
    lab.wait_for_url(re.compile(r"/lab\b"), timeout=READY_MS)
    # What an earlier run left open in this home would be restored, and then there is no launcher to click.
    lab.goto(lab.url.partition("?")[0] + "?reset")
    lab.locator(".jp-LauncherCard[data-category='Notebook']").first.click(timeout=READY_MS)
    editor = lab.locator(".jp-Notebook .jp-CodeCell .cm-content").first
    editor.click(timeout=READY_MS)
    # The kernel is chosen before it is ready; a cell run too early stays without an answer.
    expect(lab.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']").first).to_be_visible(timeout=READY_MS)
    for _ in range(TRIES):  # JupyterLab may take the focus away while it restores itself
        editor.click()
        lab.keyboard.insert_text(code)
        if code in editor.inner_text():
            break
    expect(editor).to_contain_text(code)
    output = lab.locator(".jp-OutputArea-output").first
    for _ in range(TRIES):  # what is run while the notebook still connects to its kernel stays without an answer
        editor.click()
        lab.keyboard.press("Control+Enter")
        try:
            output.wait_for(timeout=READY_MS / TRIES)
            break
        except TimeoutError:
            continue
    expect(output).to_contain_text(answer)
