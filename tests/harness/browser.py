"""Chromium for tests and figures: started once, quiet on a machine without a network."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator

from playwright.sync_api import Browser, sync_playwright

from tests.harness.errors import PackagesMissing

# Without these it asks the outside for updates and field trials, which a closed machine refuses one by one.
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium_path() -> str:
    """The browser to drive: $CARME_CHROMIUM, or the first known name on PATH. Raises PackagesMissing."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = os.environ.get("CARME_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if not found:
        raise PackagesMissing("No Chromium was found. Install the package chromium, or set CARME_CHROMIUM to its path.")
    return found


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium for the length of a `with`."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium_path(), args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()
