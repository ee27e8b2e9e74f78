"""The sessions of an instance: launch, look, stop. Every door (pages, REST, command line) calls this class.

Methods that are not `async` may wait for the database or NSS for some milliseconds: from an event loop, call
them in an executor.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from backend.cluster import SnapshotReader
from backend.identity import Viewer, policy
from backend.launcher import Launcher, LauncherError
from backend.sessions.choosing import Choosing
from backend.sessions.estimates import Estimates, Superseded
from backend.sessions.life.registration import register
from backend.sessions.life.rows import Row, Rows, TooManySessions, as_session
from backend.sessions.life.scheduler import now_s
from backend.sessions.life.submission import (
    Submission,
    job_options,
    prepare,
)
from backend.sessions.life.watch import Watcher, stop_note
from backend.sessions.life.words import refusal_words
from backend.sessions.model import (
    OVER_STATES,
    Estimate,
    Fit,
    LaunchOptions,
    LaunchRefused,
    LaunchRequest,
    Problem,
    RegistrationAnswer,
    Session,
    SessionError,
    SessionNotFound,
)
from backend.sessions.person import unix_name
from backend.sessions.routes import forget_old, issue_ticket
from backend.sessions.runtimes import NoRuntime
from backend.store import Database, SecretBox, audit
from config import Settings

log = logging.getLogger("carme.sessions")

LOG_LIMIT_BYTES = 256 * 1024


class Sessions:
    """One object a process. Safe from any thread; the coroutines belong to one event loop."""

    def __init__(
        self,
        settings: Settings,
        db: Database,
        box: SecretBox,
        snapshots: SnapshotReader,
        launcher: Launcher,
    ) -> None:
        self._settings = settings
        self._db = db
        self._box = box
        self._snapshots = snapshots
        self._launcher = launcher
        self._choosing = Choosing(settings, snapshots)
        self._rows = Rows(db)
        self._watcher = Watcher(settings, self._rows, box, snapshots, launcher, sweep=lambda: forget_old(db))
        self._estimates = Estimates(settings.sessions.estimates_at_once, settings.sessions.estimate_keep_s)
        self._tasks: set[asyncio.Task[Session]] = set()

    def start(self) -> None:
        """Begin to reconcile with the scheduler, in a thread. The web process calls this once."""
        self._watcher.start()

    def close(self) -> None:
        """End that thread."""
        self._watcher.stop()

    # Choosing

    def options(self, viewer: Viewer) -> LaunchOptions:
        """What the person may choose from, with defaults that can be launched as they are."""
        return self._choosing.options(viewer)

    def complete(self, viewer: Viewer, request: LaunchRequest) -> LaunchRequest:
        """The request with its blanks filled as `launch` would. Raises LaunchRefused."""
        return self._choosing.completed(request, self._choosing.person(viewer))

    def check(self, viewer: Viewer, request: LaunchRequest) -> tuple[Problem, ...]:
        """Everything that stands against the request, in words; empty when it may be launched."""
        try:
            return self._choosing.check(viewer, request).problems
        except LaunchRefused as refused:
            return refused.problems

    def fit(self, viewer: Viewer, request: LaunchRequest) -> Fit:
        """Whether the request would start now, from the snapshot. Raises LaunchRefused."""
        return self._choosing.fit(viewer, request)

    async def estimate(self, viewer: Viewer, request: LaunchRequest) -> Estimate:
        """When the scheduler expects it to start. Raises LaunchRefused, Superseded by a newer question."""
        person = await asyncio.to_thread(self._choosing.person, viewer)
        full = await asyncio.to_thread(self._choosing.completed, request, person)
        options = job_options(full)

        async def ask() -> Estimate:
            try:
                answer = await self._launcher.call(person.name, "estimate", options=options)
            except LauncherError as error:
                return Estimate(None, refusal_words(error.kind, error.message)[1])
            start_s = answer.get("start_s")
            if not isinstance(start_s, int):
                return Estimate(None, "The scheduler can't say when it would start.")
            return Estimate(start_s, "Expected by the scheduler as things are; it can be sooner or later.")

        return await self._estimates.get(person.name, options, ask)

    def unix_user(self, viewer: Viewer) -> str:
        """The Unix account that acts for the person. Raises LaunchRefused where there is none."""
        return self._choosing.person(viewer).name

    # Launching

    async def launch(self, viewer: Viewer, request: LaunchRequest, key: str = "", address: str = "") -> Session:
        """Submit. A repeated `key` (of one click) gives the session of the first. Raises LaunchRefused.

        Goes on when the caller goes away. The answer may still be `submitting`: then it is not known yet
        whether the scheduler took it, and reconciling finds out.
        """
        task = asyncio.ensure_future(self._launch(viewer, request, key, address))
        self._tasks.add(task)  # held here: a browser that goes away must not leave a launch half done
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(task)

    async def relaunch(self, viewer: Viewer, session_id: str, key: str = "", address: str = "") -> Session:
        """Launch again what an earlier own session asked for. Raises SessionNotFound, LaunchRefused."""
        earlier = await asyncio.to_thread(self._own, viewer, session_id, "session.open")
        request = as_session(earlier).request
        return await self.launch(viewer, replace(request, cluster=""), key, address)

    async def _launch(self, viewer: Viewer, request: LaunchRequest, key: str, address: str) -> Session:
        row, submission = await asyncio.to_thread(self._insert, viewer, request, key, address)
        if submission is None:
            if row.state == "failed" and row.removed:
                raise LaunchRefused((Problem("", row.reason),))
            return as_session(row)
        try:
            answer = await self._launcher.call(submission.user, "submit", **submission.arguments)
        except LauncherError as error:
            if error.kind in ("unknown", "exists"):
                log.warning("session %s: %s", row.id, error)
                return as_session(row)
            field, words = refusal_words(error.kind, error.message)
            await asyncio.to_thread(self._refused, row, viewer.name, address, words)
            raise LaunchRefused((Problem(field, words),)) from error
        return as_session(await asyncio.to_thread(self._accepted, row, int(answer["job_id"])))

    def _insert(self, viewer: Viewer, request: LaunchRequest, key: str, address: str) -> tuple[Row, Submission | None]:
        """The row, before anything is submitted; no submission when this click has made one already."""
        if not policy.allowed(viewer, "session.launch"):
            raise LaunchRefused((Problem("", "You may not launch sessions."),))
        earlier = self._rows.by_key(viewer.name, key[:64]) if key else None
        if earlier is not None:
            return earlier, None
        checked = self._choosing.check(viewer, request)
        if checked.problems:
            raise LaunchRefused(checked.problems)
        full = checked.request
        try:
            submission = prepare(
                settings=self._settings,
                box=self._box,
                runtime=self._choosing.runtime(),
                images=self._choosing.images(),
                request=full,
                owner=viewer.name,
                person=checked.person,
                key=key,
            )
        except NoRuntime as error:
            raise LaunchRefused((Problem("image", f"Images can't be run here: {error}."),)) from error
        told = ("app", "account", "partition", "gpus", "gpu_type", "time_s")
        detail: dict[str, Any] = {name: getattr(full, name) for name in told}
        try:
            row, fresh = self._rows.insert(
                submission.row,
                self._settings.sessions.max_active_per_person,
                self._settings.sessions.submit_timeout_s,
                lambda tx: audit(tx, viewer.name, "session.launch", submission.row.id, address=address, **detail),
            )
        except TooManySessions as error:
            words = f"You have {error.most} sessions waiting or running, as many as are allowed. Stop one first."
            raise LaunchRefused((Problem("", words),)) from error
        return row, submission if fresh else None

    def _accepted(self, row: Row, job_id: int) -> Row:
        """Keep the job's number; a stop that came meanwhile is carried out now."""

        def decide(fresh: Row) -> dict[str, Any]:
            values: dict[str, Any] = {} if fresh.job_id is not None else {"job_id": job_id}
            return {**values, "state": "pending"} if fresh.state == "submitting" else values

        row = self._rows.change(row.id, decide) or row
        if row.state == "stopping" or row.state in OVER_STATES:
            self._watcher.cancel_now(row, job_id)
        self._snapshots.kick()
        self._watcher.wake()
        return row

    def _refused(self, row: Row, actor: str, address: str, words: str) -> None:
        """The scheduler said no: the row stays for the audit, off the list (the form shows the words)."""

        def decide(fresh: Row) -> dict[str, Any]:
            if fresh.state not in ("submitting", "stopping") or fresh.job_id is not None:
                return {}
            return {"state": "failed", "reason": words, "end_s": now_s(), "removed": True}

        self._rows.change(
            row.id,
            decide,
            lambda tx: audit(tx, actor, "session.launch", row.id, "refused", address, why=words[:500]),
        )

    # Looking

    def list(self, viewer: Viewer, owner: str | None = None, ended: bool = True, limit: int = 200) -> Sequence[Session]:
        """The viewer's sessions, newest first; of `owner`, or of all for "*", where policy allows."""
        owner = viewer.name if owner is None else owner
        wanted = None if owner == "*" else owner
        rows = self._rows.list(wanted, ended, limit)
        return [as_session(row) for row in rows if policy.allowed(viewer, "session.see", row)]

    def get(self, viewer: Viewer, session_id: str) -> Session:
        """One session. Raises SessionNotFound, the same for one that the viewer may not see."""
        return as_session(self._own(viewer, session_id, "session.see"))

    async def log_tail(self, viewer: Viewer, session_id: str, max_bytes: int = 16384) -> str:
        """The end of the session's log, for its owner. Raises SessionNotFound, SessionError."""
        row = await asyncio.to_thread(self._own, viewer, session_id, "session.log")
        user = unix_name(self._settings, row.owner, row.uid)
        limit = max(1, min(max_bytes, LOG_LIMIT_BYTES))
        try:
            answer = await self._launcher.call(user, "tail", session=row.id, max_bytes=limit)
        except LauncherError as error:
            if error.kind == "not_found":
                return ""
            raise SessionError(refusal_words(error.kind, error.message)[1]) from error
        return str(answer.get("text", ""))

    def version(self) -> int:
        """Grows with every change of any session: for pollers."""
        return self._rows.version()

    @property
    def changes(self) -> int:
        """Another number when something may have been changed by this process: what costs nothing to ask."""
        return self._rows.changes

    # Ending

    async def stop(self, viewer: Viewer, session_id: str, address: str = "") -> Session:
        """Ask for the end; also of one that is still being submitted. Raises SessionNotFound."""
        row = await asyncio.to_thread(self._stop, viewer, session_id, address)
        return as_session(row)

    def _stop(self, viewer: Viewer, session_id: str, address: str) -> Row:
        row = self._own(viewer, session_id, "session.stop")
        first = row.stop_requested_s is None

        def decide(fresh: Row) -> dict[str, Any]:
            if fresh.state in OVER_STATES:
                return {}
            asked = {} if fresh.stop_requested_s else {"stop_requested_s": now_s(), "stopped_by": viewer.name}
            return {**asked, "state": "stopping", "stop_sent_s": now_s()}

        row = self._rows.change(session_id, decide, stop_note(row, viewer.name, address) if first else None) or row
        if row.state == "stopping":
            self._watcher.cancel_now(row, row.job_id)
            self._watcher.wake()
        return row

    def keep(self, viewer: Viewer, session_id: str, address: str = "") -> Session:
        """Count an idle session as used now, so that it doesn't end. Raises SessionNotFound, SessionError."""
        row = self._own(viewer, session_id, "session.keep")
        if row.state != "ready" or not row.idle_timeout_s:
            raise SessionError("This session doesn't end for being idle.")
        kept = self._rows.change(
            session_id,
            lambda fresh: {"kept_s": now_s()} if fresh.state == "ready" else {},
            lambda tx: audit(tx, viewer.name, "session.keep", session_id, address=address),
        )
        return as_session(kept or row)

    def remove(self, viewer: Viewer, session_id: str) -> None:
        """Take a session that is over off the list, its folder too. Raises SessionNotFound, SessionError."""
        row = self._own(viewer, session_id, "session.remove")
        if row.state not in OVER_STATES:
            raise SessionError("This session is not over yet. Stop it first.")
        self._rows.change(
            session_id,
            lambda fresh: {"removed": True},
            lambda tx: audit(tx, viewer.name, "session.remove", session_id),
        )
        try:
            self._launcher.call_blocking(unix_name(self._settings, row.owner, row.uid), "forget", session=session_id)
        except LauncherError as error:  # the card is gone all the same; the folder is the person's own to delete
            log.info("the folder of session %s stays: %s", session_id, error)

    def registered(self, message: dict[str, Any]) -> RegistrationAnswer:
        """An agent says where it listens: 204, 403, or 410 with a signed body when its session is over."""
        answer, changed = register(self._rows, self._box, message)
        if changed:
            row = self._rows.get(str(message["session"]))
            if row is not None and not row.address:
                self._snapshots.kick()
            self._watcher.wake()
        return answer

    def issue_ticket(self, viewer: Viewer, session_id: str, app: str, address: str = "") -> str:
        """A ticket for one app of one's own live session. Raises SessionNotFound."""
        return issue_ticket(self._db, viewer, session_id, app, address)

    # What is known

    def _own(self, viewer: Viewer, session_id: str, action: str) -> Row:
        row = self._rows.get(session_id)
        if row is None or not policy.allowed(viewer, action, row):
            raise SessionNotFound("There is no such session.")
        return row


__all__ = ["Sessions", "Superseded"]
