"""Compare: two to eight jobs side by side. Its data are those of the Job page, asked for one job at a time."""

from __future__ import annotations

from typing import Any

from backend.identity import Viewer
from backend.services import Services


def build(services: Services, viewer: Viewer) -> Any:
    """The page at `/compare`."""
    from pages.shell import page  # the shell knows every page, so it comes last

    return page(services, viewer, "compare")
