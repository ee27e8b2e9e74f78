"""One thing that was looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

from config import Settings

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """What was found, and what to do about it ("" when nothing)."""

    check: str
    state: State
    found: str
    do: str = ""

    def facts(self) -> dict[str, str]:
        """For `--json`."""
        return asdict(self)


@dataclass(frozen=True)
class Outcome:
    """What a check gives."""

    state: State
    found: str
    do: str = ""


def good(found: str) -> Outcome:
    """It is as it should be."""
    return Outcome("ok", found)


def doubtful(found: str, do: str) -> Outcome:
    """It works, or may, but not as it should."""
    return Outcome("warn", found, do)


def bad(found: str, do: str) -> Outcome:
    """It does not work."""
    return Outcome("fail", found, do)


def checked(name: str, check: Callable[[Settings], Outcome], settings: Settings) -> Finding:
    """Run one check; what it did not foresee is a finding too, so that the other checks still run."""
    try:
        outcome = check(settings)
    except Exception as error:  # noqa: BLE001 - a doctor must get to the end
        outcome = bad(f"{type(error).__name__}: {error}", "Please report this with the lines above.")
    return Finding(name, outcome.state, outcome.found, outcome.do)
