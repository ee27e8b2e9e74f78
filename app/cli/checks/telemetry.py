"""What jobs do on their nodes: whether it is taken in and can be read, and what it takes on disk."""

from __future__ import annotations

import time

from app.cli.checks.finding import Outcome, bad, doubtful, good
from backend.telemetry import open_telemetry
from config import Settings

LATE_S = 600


def check_telemetry(settings: Settings) -> Outcome:
    """Readable, its process up, and how much there is."""
    state = open_telemetry(settings).state
    where = settings.telemetry.prometheus_url if settings.telemetry.source == "prometheus" else "in the data folder"
    if state.error:
        started = "Start the telemetry process (`carme serve`) and look at its log."
        asked = "Check telemetry.prometheus_url and telemetry.prometheus_token_file."
        return bad(f"{where}: {state.error}", asked if settings.telemetry.source == "prometheus" else started)
    size = f"{where}, {state.size_bytes / 2**20:.1f} MB"
    if state.as_of_s is None:
        return good(f"{size}, nothing was sent yet")
    age_s = time.time() - state.as_of_s
    if age_s > LATE_S:
        return doubtful(f"{size}, the newest sample is {age_s / 60:.0f} min old", "Fine while no measured job runs.")
    return good(f"{size}, the newest sample is {max(age_s, 0):.0f} s old")
