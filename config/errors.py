"""The one way settings fail."""

from __future__ import annotations


class SettingsError(Exception):
    """A setting that can't be used: where it stands, its key, what was found and what is allowed."""

    def __init__(self, source: str, key: str, found: str, allowed: str) -> None:
        place = f"{source}: {key}" if key else source
        super().__init__(f"{place}: found {found}; allowed: {allowed}")
        self.source = source
        self.key = key
        self.found = found
        self.allowed = allowed
