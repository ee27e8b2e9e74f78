"""What a person may launch here: the settings, the newest snapshot and the person's account brought together."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from backend.cluster import Snapshot, SnapshotReader
from backend.cluster.views import FitRequest, fits_now
from backend.identity import Viewer
from backend.sessions.apps import APPS
from backend.sessions.life.submission import find_runtime, image_problem, shape_problems
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
    AppChoice,
    Fit,
    ImageChoice,
    LaunchOptions,
    LaunchRefused,
    LaunchRequest,
    Problem,
)
from backend.sessions.person import NoAccount, UnixPerson, unix_person
from backend.sessions.runtimes import NoRuntime, Runtime
from config import Settings

PERSON_KEPT_S = 30.0
NO_CLUSTER = "The console has not reached the scheduler yet. Try again in a moment."


@dataclass(frozen=True)
class Checked:
    """A request with its blanks filled, who asks, and what stands against it."""

    request: LaunchRequest
    person: UnixPerson
    problems: tuple[Problem, ...]


class Choosing:
    """Answers from memory and NSS; for any thread."""

    def __init__(self, settings: Settings, snapshots: SnapshotReader) -> None:
        self._settings = settings
        self._snapshots = snapshots
        self._people: dict[str, tuple[float, UnixPerson]] = {}
        self._facts: tuple[Snapshot, Facts] | None = None
        self._runtime: Runtime | NoRuntime | None = None

    def options(self, viewer: Viewer) -> LaunchOptions:
        """See Sessions."""
        facts = self._current_facts()
        try:
            person = self._person(viewer)
        except NoAccount as refusal:
            nobody = PersonFacts(viewer.name, frozenset(), (), ())
            return replace(choices(self._site(), facts, nobody), refusal=str(refusal))
        found = choices(self._site(), facts, self._facts_of(person))
        return found if self._cluster() else replace(found, refusal=NO_CLUSTER)

    def check(self, viewer: Viewer, request: LaunchRequest) -> Checked:
        """Fill the blanks and look for what stands against it. Raises LaunchRefused for a person without account."""
        person = self.person(viewer)
        found = tuple(shape_problems(request, self._settings.sessions.apps))
        if found:
            return Checked(request, person, found)
        if not self._cluster():
            return Checked(request, person, (Problem("", NO_CLUSTER),))
        if request.cluster not in ("", self._cluster()):
            return Checked(request, person, (Problem("cluster", "There is no such cluster."),))
        full = self.completed(request, person)
        return Checked(full, person, self._against(full, person))

    def _against(self, full: LaunchRequest, person: UnixPerson) -> tuple[Problem, ...]:
        wrong_image = image_problem(full, self.images(), self._settings.sessions.image_folders)
        if wrong_image is not None:
            return (wrong_image,)
        longest = self._site().max_time_s
        if longest is not None and full.time_s > longest:
            return (Problem("time_s", "This is longer than jobs on this machine may run."),)
        return problems(full, self._current_facts(), self._facts_of(person))

    def fit(self, viewer: Viewer, request: LaunchRequest) -> Fit:
        """See Sessions."""
        full = self.completed(request, self.person(viewer))
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
        fits = found.fits and found.nodes_now >= full.nodes
        nodes = "1 node" if found.nodes_now == 1 else f"{found.nodes_now} nodes"
        return Fit(found.nodes_now, fits, f"Fits now on {nodes}." if fits else "Doesn't fit right now.")

    def completed(self, request: LaunchRequest, person: UnixPerson) -> LaunchRequest:
        """The request with its blanks filled."""
        full = completed(request, self._site(), self._current_facts(), self._facts_of(person))
        return replace(full, cluster=full.cluster or self._cluster())

    def person(self, viewer: Viewer) -> UnixPerson:
        """The viewer's Unix account. Raises LaunchRefused."""
        try:
            return self._person(viewer)
        except NoAccount as refusal:
            raise LaunchRefused((Problem("", str(refusal)),)) from refusal

    def runtime(self) -> Runtime:
        """What sessions run in. Raises NoRuntime."""
        if self._runtime is None:
            try:
                self._runtime = find_runtime(self._settings)
            except NoRuntime as error:
                self._runtime = error
        if isinstance(self._runtime, NoRuntime):
            raise self._runtime
        return self._runtime

    def images(self) -> tuple[ImageChoice, ...]:
        """The images of the settings; none where there is nothing to run them with."""
        try:
            if self.runtime().kind == "none":
                return ()
        except NoRuntime:
            return ()
        return tuple(ImageChoice(each.name, each.path, each.apps) for each in self._settings.sessions.images)

    def _person(self, viewer: Viewer) -> UnixPerson:
        key = f"{viewer.name} {viewer.uid}"
        kept = self._people.get(key)
        if kept is not None and time.monotonic() - kept[0] < PERSON_KEPT_S:
            return kept[1]
        person = unix_person(self._settings, viewer)
        fresh = {each: value for each, value in self._people.items() if time.monotonic() - value[0] < PERSON_KEPT_S}
        self._people = {**fresh, key: (time.monotonic(), person)}
        return person

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

    def _site(self) -> Site:
        chosen = self._settings.sessions
        local = self._settings.scheduler.kind == "local"
        return Site(
            apps=tuple(AppChoice(name, APPS[name].title) for name in chosen.apps if name in APPS),
            default_app=chosen.default_app,
            images=self.images(),
            image_folders=chosen.image_folders,
            default_time_s=chosen.default_time_s,
            default_gpus=chosen.default_gpus,
            max_time_s=self._settings.local.max_time_s if local else None,
        )
