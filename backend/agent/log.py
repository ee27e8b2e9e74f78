"""The agent's log is the job's output file."""

from __future__ import annotations

import contextlib


def log(text: str) -> None:
    """One line in it. A full disk must not end the session."""
    with contextlib.suppress(OSError, ValueError):
        print(f"carme: {text}", flush=True)  # noqa: T201
