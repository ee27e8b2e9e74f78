"""The sessions of an instance: launch, look, stop. Every door (pages, REST, command line) calls this class.

Methods that are not `async` may wait for the database or NSS for some milliseconds: from an event loop, call
them in an executor.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from backend.cluster import Snapshot, SnapshotReader
from backend.cluster.views import FitRequest, fits_now
from backend.identity import Viewer, policy
from backend.launcher import Launcher, LauncherError
from backend.sessions.apps import APPS
from backend.sessions.estimates import Estimates, Superseded
from backend.sessions.life.registration import register
from backend.sessions.life.rows import Row, Rows, TooManySessions, as_session
from backend.sessions.life.scheduler import now_s
from backend.sessions.life.submission import (
    Submission,
    find_runtime,
    image_problem,
    job_options,
    prepare,
    shape_problems,
)
from backend.sessions.life.watch import Watcher, stop_note
from backend.sessions.life.words import refusal_words
from backend.sessions.limits import (
    Facts,
    PersonFacts,
    Site,
    choices,
    completed,
    facts_of,
    person_facts,
    problems,
)
from backend.sessions.model import (
    OVER_STATES,
    AppChoice,
    Estimate,
    Fit,
    ImageChoice,
    LaunchOptions,
    LaunchRefused,
    LaunchRequest,
    Problem,
    RegistrationAnswer,
    Session,
    SessionError,
    SessionNotFound,
)
from backend.sessions.person import NoAccount, UnixPerson, unix_name, unix_person
from backend.sessions.routes import issue_ticket
from backend.sessions.runtimes import NoRuntime, Runtime
from backend.store import Database, SecretBox, audit
from config import Settings

log = logging.getLogger("carme.sessions")

PERSON_KEPT_S = 30.0
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
        self._rows = Rows(db)
        self._watcher = Watcher(settings, self._rows, box, snapshots, launcher)
        self._estimates = Estimates(settings.sessions.estimates_at_once, settings.sessions.estimate_keep_s)
        self._people: dict[str, tuple[float, UnixPerson]] = {}
        self._facts: tuple[Snapshot, Facts] | None = None
        self._runtime: Runtime | NoRuntime | None = None
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
        try:
            person = self._person(viewer)
        except NoAccount as refusal:
            empty = choices(
                self._site(), self._current_facts(), PersonFacts(viewer.name, frozenset(), (), ())
            )
            return replace(empty, refusal=str(refusal))
        found = choices(self._site(), self._current_facts(), self._facts_of(person))
        return found if self._cluster() else replace(found, refusal=_NO_CLUSTER)

    def complete(self, viewer: Viewer, request: LaunchRequest) -> LaunchRequest:
        """The request with its blanks filled as `launch` would. Raises LaunchRefused."""
        return self._completed(request, self._person_or_refuse(viewer))

    def check(self, viewer: Viewer, request: LaunchRequest) -> tuple[Problem, ...]:
        """Everything that stands against the request, in words; empty when it may be launched."""
        try:
            return self._check(viewer, request)[1]
        except LaunchRefused as refused:
            return refused.problems

    def fit(self, viewer: Viewer, request: LaunchRequest) -> Fit:
        """Whether the request would start now, from the snapshot. Raises LaunchRefused."""
        full = self.complete(viewer, request)
        found = fits_now(
            self._snapshots.current,
            FitRequest(
                partition=full.partition,
                gpus=full.gpus,
                gpu_type=full.gpu_type,
                cpus=max(1, full.cpus),
                memory_mb=full.memory_mb,
                nodes=full.nodes,
                reservation=full.reservation,
            ),
        )
        fits = found.nodes_now >= full.nodes and found.fits
        nodes = "1 node" if found.nodes_now == 1 else f"{found.nodes_now} nodes"
        words = f"Fits now on {nodes}." if fits else "Doesn't fit right now."
        return Fit(found.nodes_now, fits, words)

    async def estimate(self, viewer: Viewer, request: LaunchRequest) -> Estimate:
        """When the scheduler expects it to start. Raises LaunchRefused, Superseded by a newer question."""
        person = await asyncio.to_thread(self._person_or_refuse, viewer)
        full = await asyncio.to_thread(self._completed, request, person)
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

    # Launching

    async def launch(
        self, viewer: Viewer, request: LaunchRequest, key: str = "", address: str = ""
    ) -> Session:
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

    def _insert(
        self, viewer: Viewer, request: LaunchRequest, key: str, address: str
    ) -> tuple[Row, Submission | None]:
        """The row, before anything is submitted; no submission when this click has made one already."""
        if not policy.allowed(viewer, "session.launch"):
            raise LaunchRefused((Problem("", "You may not launch sessions."),))
        earlier = self._rows.by_key(viewer.name, key[:64]) if key else None
        if earlier is not None:
            return earlier, None
        full, found = self._check(viewer, request)
        if found:
            raise LaunchRefused(found)
        person = self._person_or_refuse(viewer)
        try:
            submission = prepare(
                settings=self._settings,
                box=self._box,
                runtime=self._find_runtime(),
                images=self._images(),
                request=full,
                owner=viewer.name,
                person=person,
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
                lambda tx: audit(
                    tx, viewer.name, "session.launch", submission.row.id, address=address, **detail
                ),
            )
        except TooManySessions as error:
            words = (
                f"You have {error.most} sessions waiting or running, as many as are allowed. Stop one first."
            )
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

    def list(
        self, viewer: Viewer, owner: str | None = None, ended: bool = True, limit: int = 200
    ) -> Sequence[Session]:
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

        row = (
            self._rows.change(session_id, decide, stop_note(row, viewer.name, address) if first else None)
            or row
        )
        if row.state == "stopping":
            self._watcher.cancel_now(row, row.job_id)
            self._watcher.wake()
        return row

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
            self._launcher.call_blocking(
                unix_name(self._settings, row.owner, row.uid), "forget", session=session_id
            )
        except (
            LauncherError
        ) as error:  # the card is gone all the same; the folder is the person's own to delete
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

    def _check(self, viewer: Viewer, request: LaunchRequest) -> tuple[LaunchRequest, tuple[Problem, ...]]:
        person = self._person_or_refuse(viewer)
        found = shape_problems(request, self._settings.sessions.apps)
        if found:
            return request, tuple(found)
        if not self._cluster():
            return request, (Problem("", _NO_CLUSTER),)
        if request.cluster and request.cluster != self._cluster():
            return request, (Problem("cluster", "There is no such cluster."),)
        full = self._completed(request, person)
        wrong_image = image_problem(full, self._images(), self._settings.sessions.image_folders)
        if wrong_image is not None:
            return full, (wrong_image,)
        longest = self._site().max_time_s
        if longest is not None and full.time_s > longest:
            return full, (Problem("time_s", "This is longer than jobs on this machine may run."),)
        return full, problems(full, self._current_facts(), self._facts_of(person))

    def _completed(self, request: LaunchRequest, person: UnixPerson) -> LaunchRequest:
        full = completed(request, self._site(), self._current_facts(), self._facts_of(person))
        return replace(full, cluster=full.cluster or self._cluster())

    def _cluster(self) -> str:
        return self._snapshots.current.cluster or self._settings.scheduler.cluster

    def _current_facts(self) -> Facts:
        snapshot = self._snapshots.current
        kept = self._facts
        if kept is None or kept[0] is not snapshot:
            kept = (snapshot, facts_of(snapshot))
            self._facts = kept
        return kept[1]

    def _facts_of(self, person: UnixPerson) -> PersonFacts:
        return person_facts(self._snapshots.current, person.name, person.groups)

    def _person(self, viewer: Viewer) -> UnixPerson:
        key = f"{viewer.name} {viewer.uid}"
        kept = self._people.get(key)
        if kept is not None and time.monotonic() - kept[0] < PERSON_KEPT_S:
            return kept[1]
        person = unix_person(self._settings, viewer)
        self._people = {
            key: value for key, value in self._people.items() if time.monotonic() - value[0] < PERSON_KEPT_S
        }
        self._people[key] = (time.monotonic(), person)
        return person

    def unix_user(self, viewer: Viewer) -> str:
        """The Unix account that acts for the person. Raises SessionError where there is none."""
        try:
            return self._person(viewer).name
        except NoAccount as refusal:
            raise SessionError(str(refusal)) from refusal

    def _person_or_refuse(self, viewer: Viewer) -> UnixPerson:
        try:
            return self._person(viewer)
        except NoAccount as refusal:
            raise LaunchRefused((Problem("", str(refusal)),)) from refusal

    def _find_runtime(self) -> Runtime:
        if self._runtime is None:
            try:
                self._runtime = find_runtime(self._settings)
            except NoRuntime as error:
                self._runtime = error
        if isinstance(self._runtime, NoRuntime):
            raise self._runtime
        return self._runtime

    def _images(self) -> tuple[ImageChoice, ...]:
        try:
            if self._find_runtime().kind == "none":
                return ()
        except NoRuntime:
            return ()
        return tuple(ImageChoice(each.name, each.path, each.apps) for each in self._settings.sessions.images)

    def _site(self) -> Site:
        chosen = self._settings.sessions
        names = [name for name in chosen.apps if name in APPS]
        local = self._settings.scheduler.kind == "local"
        return Site(
            apps=tuple(AppChoice(name, APPS[name].title) for name in names),
            default_app=chosen.default_app,
            images=self._images(),
            image_folders=chosen.image_folders,
            default_time_s=chosen.default_time_s,
            default_gpus=chosen.default_gpus,
            max_time_s=self._settings.local.max_time_s if local else None,
        )


_NO_CLUSTER = "The console has not reached the scheduler yet. Try again in a moment."

__all__ = ["Sessions", "Superseded"]
