"""Why there is nothing to draw, in words: the first reason that explains it."""

from __future__ import annotations

from collections.abc import Callable

from backend.telemetry import JobRef, TelemetryState

DAY_S = 86400
SHORTEST_S = 20  # a job that ends between two looks was seen by none
NOBODY = (
    "No agent has reported to this console yet. Sessions report by themselves; for all other jobs the agent runs as a "
    "service on the nodes (carme agent node)."
)

Clock = Callable[[float], str]  # writes a time for the person


def why_absent(
    run: JobRef | None, state: TelemetryState, *, node_list: str, waits: bool, clock: Clock, kept_days: float = 0
) -> str:
    """`run`: the attempt one looks at, None when it never held a node. `kept_days`: after its end; 0 is for ever."""
    if run is None:
        return (
            "It has not started: its curves begin with it."
            if waits
            else "It never started: nothing was there to measure."
        )
    if state.error is not None:
        since = f" since {clock(state.error_since_s)}" if state.error_since_s else ""
        return f"What jobs do can’t be read{since}: {state.error}"
    where = f" on {node_list}" if node_list else ""
    if run.end_s is not None:
        return _of_past(run.start_s, run.end_s, state, where, clock=clock, kept_days=kept_days)
    if state.as_of_s is None:
        return NOBODY
    if state.as_of_s < run.start_s:
        return f"Nothing has come in since {clock(state.as_of_s)}, before it started."
    return f"Nothing was measured yet{where}. The first half minute of a job takes that long; else no agent runs there."


def _of_past(start_s: int, end_s: int, state: TelemetryState, where: str, *, clock: Clock, kept_days: float) -> str:
    if end_s - start_s < SHORTEST_S:
        return f"It ran for {end_s - start_s} s, too short to be looked at: that happens every 10 s."
    if state.as_of_s is None:
        return NOBODY
    if kept_days and end_s < state.as_of_s - kept_days * DAY_S:
        return f"What was measured is kept for {kept_days:g} days after a job’s end, which was longer ago."
    if state.oldest_s is not None and end_s < state.oldest_s:
        return f"What was measured is kept for a limited time; the oldest that is left is from {clock(state.oldest_s)}."
    return f"No agent measured it{where}: it was no session of this console, and no node service ran there then."
