"""Joins the console's rows with what the scheduler says, again and again: a crash at any step loses nothing.

Safe in several processes at once: every change is made from a known version of the row, and a cancel is
claimed in the row before it is sent.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from backend.cluster.model import Snapshot
from backend.cluster.views import reason_in_words
from backend.sessions.life.rows import Row, Rows
from backend.sessions.life.scheduler import Claim, Sight, first_node, now_s
from backend.sessions.life.words import cancelled_words, ended_words
from backend.sessions.limits.check import duration
from backend.sessions.model import OVER_STATES

log = logging.getLogger("carme.sessions")

ACCEPTANCE_MARGIN_S = 20  # after not_after: the scheduler's and this machine's clocks differ
LOOK_MARGIN_S = 3  # a look taken this long after a submission shows its job
FORGOTTEN_S = 120  # a job that neither the queue nor accounting knows for so long is given up
STOPPED_UNSEEN_S = 15  # the same for one that was to end anyway
CANCEL_AGAIN_S = 15

Cancel = Callable[[Row, int | None], None]
Values = dict[str, Any]


class Reconciler:
    """Brings the rows up to the newest sight. One object a process, one call at a time."""

    def __init__(self, rows: Rows, cancel: Cancel) -> None:
        """`cancel(row, job_id)` cancels as the person: that job, or with None all of the session's name."""
        self._rows = rows
        self._cancel = cancel
        self._missing_since: dict[str, float] = {}

    def run(self, snapshot: Snapshot, sight: Sight) -> int:
        """One pass over one cluster; the number of rows that changed."""
        changed = 0
        live = [row for row in self._rows.live() if row.cluster in (sight.cluster, "")]
        for row in live:
            changed += self._one(row, snapshot, sight)
        self._ghosts(sight, {row.id for row in live})
        known = {row.id for row in live}
        self._missing_since = {key: value for key, value in self._missing_since.items() if key in known}
        return changed

    def _one(self, row: Row, snapshot: Snapshot, sight: Sight) -> bool:
        claim = sight.claim(row.id, row.uid, row.job_id)
        values = self._values(row, claim, snapshot, sight)
        values = {key: value for key, value in values.items() if getattr(row, key) != value}
        changed = bool(values) and self._rows.apply(row, values)
        if changed:
            for key, value in values.items():
                setattr(row, key, value)
            row.version += 1
        if row.state == "stopping":
            self._stop(row)
        return changed

    def _values(self, row: Row, claim: Claim | None, snapshot: Snapshot, sight: Sight) -> Values:
        if claim is not None:
            self._missing_since.pop(row.id, None)
            return self._over(row, claim.job) if claim.over else self._live(row, claim, snapshot, sight)
        if row.job_id is not None:
            ended = sight.end(row.id, row.uid, row.job_id)
            return self._over(row, ended) if ended is not None else self._vanished(row, sight)
        return self._never_accepted(row, sight)

    def _live(self, row: Row, claim: Claim, snapshot: Snapshot, sight: Sight) -> Values:
        job = claim.job
        values: Values = {
            "job_id": job["job_id"],
            "confirmed": True,
            "account": job["account"] or row.account,
            "limit_end_s": None,
        }
        stopping = row.stop_requested_s is not None
        if job["state"] == "PENDING":
            values.update(
                state="stopping" if stopping else "pending",
                reason=reason_in_words(dict(job), snapshot),
                start_s=job["start_s"] if job["start_expected"] else None,
                start_expected=bool(job["start_expected"] and job["start_s"]),
            )
            return values
        node = first_node(job["node_list"])
        values.update(
            state="stopping" if stopping else "ready" if row.state == "ready" else "starting",
            reason="It is suspended by the scheduler." if job["state"] == "SUSPENDED" else "",
            start_s=job["start_s"],
            start_expected=False,
            limit_end_s=job["end_s"],
            node=node or row.node,
            address=sight.addresses.get(node or "") or row.address,
        )
        return values

    def _over(self, row: Row, job: Mapping[str, Any]) -> Values:
        state, exit_code = job["state"], job["exit_code"] or ""
        if state == "CANCELLED" or row.stop_requested_s is not None:
            words = cancelled_words(row.stopped_by, row.owner, str(job.get("cancelled_by") or ""))
        else:
            limit_s = job["time_limit_s"]
            words = ended_words(state, exit_code, duration(limit_s) if limit_s else "")
        good = state in ("COMPLETED", "CANCELLED", "TIMEOUT", "PREEMPTED") or row.stop_requested_s is not None
        return {
            "state": "ended" if good else "failed",
            "job_id": job["job_id"],
            "confirmed": True,
            "reason": words,
            "exit_code": exit_code[:16],
            "start_s": job["start_s"] if job["node_list"] and not job.get("start_expected") else None,
            "start_expected": False,
            "end_s": job["end_s"] or now_s(),
            "account": job["account"] or row.account,
        }

    def _vanished(self, row: Row, sight: Sight) -> Values:
        """The job is known by its number, but the newest look doesn't show it."""
        if sight.jobs_s is None or sight.jobs_s < row.created_s + LOOK_MARGIN_S:
            return {}
        if not row.confirmed and sight.jobs_s < row.not_after_s:
            return {}  # just submitted: the look may be older than the job
        since = self._missing_since.setdefault(row.id, sight.jobs_s)
        if sight.jobs_s - since < (FORGOTTEN_S if row.stop_requested_s is None else STOPPED_UNSEEN_S):
            return {}
        words = "The scheduler no longer knows its job; how it ended is not known."
        if row.stop_requested_s is not None:
            words = cancelled_words(row.stopped_by, row.owner, "")
        return {"state": "ended", "reason": words, "end_s": int(since), "start_expected": False}

    def _never_accepted(self, row: Row, sight: Sight) -> Values:
        """No job is known, none is seen: once nothing can be submitted any more, there will be none."""
        if sight.jobs_s is None or sight.jobs_s < row.not_after_s + ACCEPTANCE_MARGIN_S:
            return {}
        if row.stop_requested_s is not None:
            words = f"{cancelled_words(row.stopped_by, row.owner, '')} The scheduler had not accepted it."
            return {"state": "ended", "reason": words, "end_s": now_s()}
        words = "It was never accepted by the scheduler: the console was interrupted while it was submitting."
        return {"state": "failed", "reason": words, "end_s": now_s()}

    def _stop(self, row: Row) -> None:
        """Cancel, and cancel again until the job is gone."""
        if row.stop_sent_s is not None and now_s() - row.stop_sent_s < CANCEL_AGAIN_S:
            return
        if self._rows.apply(row, {"stop_sent_s": now_s()}):
            self._cancel(row, row.job_id)

    def _ghosts(self, sight: Sight, live: set[str]) -> None:
        """Cancel jobs whose session is over: a submission that came through after it was given up."""
        running = [name for name, claims in sight.claims.items() if any(not each.over for each in claims)]
        suspects = [name for name in running if name not in live]
        for row in self._rows.among(suspects):
            if row.state not in OVER_STATES or row.cluster != sight.cluster:
                continue
            claim = sight.claim(row.id, row.uid, row.job_id)
            if claim is None or claim.over or self._just_ended(row, sight):
                continue
            if row.stop_sent_s is not None and now_s() - row.stop_sent_s < CANCEL_AGAIN_S:
                continue
            if self._rows.apply(row, {"stop_sent_s": now_s()}):
                log.warning("session %s is over, its job %s is not: cancelling it", row.id, claim.job["job_id"])
                self._cancel(row, int(claim.job["job_id"]))

    @staticmethod
    def _just_ended(row: Row, sight: Sight) -> bool:
        """The look is older than the end that another source told of."""
        return row.end_s is not None and (sight.jobs_s or 0) < row.end_s + LOOK_MARGIN_S
