"""What keeps people from reading a page: axe's findings, on a page that stands still."""

from __future__ import annotations

from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

WCAG_22_AA = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
# A colour that fades from one to another has too little contrast on its way. What never ends is not waited for.
STILL = """() => Promise.allSettled(document.getAnimations()
    .filter((each) => each.effect.getComputedTiming().endTime < Infinity).map((each) => each.finished))"""


def barriers(page: Page, options: dict[str, Any] | None = None) -> list[tuple[str, list[str]]]:
    """Each rule that is broken, and the elements that break it; by all of axe's rules where no others are named."""
    page.evaluate(STILL)
    found = Axe().run(page, options=options).response["violations"]
    return [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in found]
