"""What jobs do on their nodes: whether it is taken in and can be read, and what it takes on disk."""

from __future__ import annotations

import time

from backend.checks.finding import Outcome, bad, doubtful, good
from backend.telemetry import open_telemetry
from backend.telemetry.intake import ProcessAway, ask_blocking, socket_path
from config import Settings

LATE_S = 600
ANSWER_S = 10.0


def check_telemetry(settings: Settings) -> Outcome:
    """Readable, its process up, and how much there is."""
    embedded = settings.telemetry.source == "embedded"
    try:
        if embedded:
            ask_blocking(socket_path(settings.instance.data_dir), {"do": "state"}, ANSWER_S)
    except ProcessAway as away:
        return doubtful(str(away), "What jobs do is not taken in meanwhile; their agents keep an hour of it.")
    state = open_telemetry(settings).state
    where = "in the data folder" if embedded else settings.telemetry.prometheus_url
    if state.error:
        own = "Look at the telemetry process's log; docs/telemetry.md says what the files are."
        asked = "Check telemetry.prometheus_url and telemetry.prometheus_token_file."
        return bad(f"{where}: {state.error}", own if embedded else asked)
    size = f"{where}, {state.size_bytes / 2**20:.1f} MB" if embedded else where
    if state.as_of_s is None:
        return good(f"{size}, nothing was sent yet")
    age_s = time.time() - state.as_of_s
    if age_s > LATE_S:
        return doubtful(f"{size}, the newest sample is {age_s / 60:.0f} min old", "Fine while no measured job runs.")
    return good(f"{size}, the newest sample is {max(age_s, 0):.0f} s old")
