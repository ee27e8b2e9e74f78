"""What a person sees. `PAGES` is what the web process serves: each page its own URL, all in one shell."""

from __future__ import annotations

from pages.catalogue import PAGES, Page

__all__ = ["PAGES", "Page"]
