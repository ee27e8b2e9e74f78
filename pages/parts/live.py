"""The one poller of the process: sees what changed, makes each message once, hands it to every open page.

A `Seat` is one open document. It joins rooms, one for each topic it shows. The poller looks at the marks
(cheap: a `stat` and one row), makes the topics of rooms with somebody in them whose marks have moved, in a
thread, and sends what changed. A document that opens finds the last message ready.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from backend.accounting.warehouse import WarehouseUnusable
from backend.identity import Viewer
from backend.services import Services
from pages.parts.sparks import close_sparks, sparks_of
from pages.parts.topics import Message, Topic, difference, to_json

log = logging.getLogger("carme.pages")

EVERY_S = 0.1  # a `stat` of the snapshot
SLOWER_S = 1.0  # a row of the database, a `stat` of the news

Marks = Mapping[str, Any]
T = TypeVar("T")


class Seat(Protocol):
    """One open document."""

    viewer: Viewer

    def send(self, text: str) -> None:
        """Hand a JSON text to the browser; returns at once."""


@dataclass
class Room:
    """A topic's newest message and who watches it."""

    topic: Topic
    viewer: Viewer | None
    seats: set[Seat] = field(default_factory=set)
    data: Message | None = None
    version: str = ""
    count: int = 0
    marks: tuple[Any, ...] = ()
    full: str = ""  # the message for one who has nothing yet
    left_s: float = 0.0
    wrong: str = ""  # why it could not be made the last time
    making: asyncio.Future[None] | None = None


class Look:
    """The marks by which a change is known."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._slower: dict[str, Any] = {}
        self._next_s = 0.0
        self._changes = -1
        self._unusable = ""

    def hurry(self) -> None:
        """Somebody has just changed what is not a session: don't wait with the database."""
        self._next_s = 0.0

    def __call__(self) -> Marks:
        """Look. Blocks for the disk, and once a second for one row of the database, or as soon as this process has
        changed a session (a person's click, an agent's word): for a thread."""
        self._services.snapshots.refresh()
        snapshot = self._services.snapshots.current
        marks: dict[str, Any] = {}
        for name in ("jobs", "nodes", "partitions", "reservations", "qos", "associations"):
            part = getattr(snapshot, name)
            marks[name] = part.taken_s
            marks[f"{name}!"] = (part.taken_s, part.error, part.failing_since_s)
        sparks = sparks_of(self._services)
        sparks.tick()
        marks["sparks"] = sparks.version
        now, changes = time.monotonic(), self._services.sessions.changes
        if now >= self._next_s or changes != self._changes:
            self._next_s, self._changes = now + SLOWER_S, changes
            self._slower = {
                "sessions": self._services.sessions.version(),
                "news": self._news_changed(),
                "accounts": self._accounts(),
                "told": self._services.idle_notices.version(),
            }
        return {**marks, **self._slower}

    def _accounts(self) -> tuple[int, str, int, str]:
        """The generation, and why there is no newer one: accounts that can't be read hold up nothing else. And the
        same of the projects, by which accounts are put together."""
        words = ""
        try:
            self._services.warehouse.refresh()
        except WarehouseUnusable as error:
            words = str(error)
            if words != self._unusable:
                log.error("the accounts can't be read: %s", words)
        self._unusable = words
        projects = self._services.projects
        return self._services.warehouse.generation, words, projects.current().version, projects.trouble

    def _news_changed(self) -> int | None:
        try:
            return self._services.settings.instance.news_file.stat().st_mtime_ns
        except OSError:
            return None


class Live:
    """One for each process. All of it belongs to the event loop's thread but what says otherwise."""

    def __init__(self, services: Services, topics: Iterable[Topic], every_s: float = EVERY_S) -> None:
        self.services = services
        self.topics = {topic.name: topic for topic in topics}
        self.every_s = every_s
        self.rooms: dict[str, Room] = {}
        self._epoch = f"{time.time_ns():x}"  # versions of an earlier process never match
        self._marks: Marks = {}
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="live")
        self._task: asyncio.Task[None] | None = None
        self.look = Look(services)

    def start(self) -> None:
        """Begin to poll in the running loop; a second call does nothing."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name="live")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        self._pool.shutdown(wait=False, cancel_futures=True)
        close_sparks(self.services)

    # -- seats ----------------------------------------------------------------------------------------------

    def peek(self, name: str, viewer: Viewer) -> tuple[str, Message] | None:
        """A topic's newest version and data, if somebody has had it made; for the first picture of a page."""
        topic = self.topics[name]
        room = self.rooms.get(topic.key(viewer))
        if room is None or room.data is None or room.marks != self._wanted(topic):
            return None
        return room.version, room.data

    async def watch(self, seat: Seat, names: Iterable[str], have: Mapping[str, str]) -> None:
        """Let the seat watch these topics and no others; it is sent those of which it has another version."""
        topics = [self.topics[name] for name in names if name in self.topics]
        wanted = {topic.key(seat.viewer): topic for topic in topics}
        for key, room in self.rooms.items():
            if key not in wanted:
                self._part(room, seat)
        late = []
        for key, topic in wanted.items():
            room = self.rooms.setdefault(key, Room(topic, None))
            room.left_s = time.monotonic()  # or the poll, between here and the seat, would take it for one long left
            room.viewer = seat.viewer if topic.personal else None
            if room.data is None or not room.seats:
                # Nobody watched: what is there may be old.
                try:
                    await self._make(room)
                except Exception:  # the poll tries again
                    log.exception("topic %s could not be prepared", topic.name)
            room.seats.add(seat)
            if room.data is not None and have.get(topic.name) != room.version:
                late.append(room.full)
        if late:
            seat.send("[" + ",".join(late) + "]")

    def leave(self, seat: Seat) -> None:
        """The document is gone."""
        for room in self.rooms.values():
            self._part(room, seat)

    def _part(self, room: Room, seat: Seat) -> None:
        if seat in room.seats:
            room.seats.discard(seat)
            if not room.seats:
                room.left_s = time.monotonic()

    def everyone(self) -> int:
        """How many documents are open."""
        return len({id(seat) for room in self.rooms.values() for seat in room.seats})

    # -- the poll -------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        failed = ""
        while True:
            began = time.monotonic()
            try:
                await self.poll()
            except Exception as error:  # the pages of everybody hang on this loop
                if failed != repr(error):  # a lasting failure is logged once
                    log.exception("live data could not be prepared")
                failed = repr(error)
            else:
                failed = ""
            await asyncio.sleep(max(0.02, self.every_s - (time.monotonic() - began)))

    async def poll(self) -> None:
        """Look once, make what changed, send it."""
        self._marks = await self._threaded(self.look)
        posts: dict[Seat, list[str]] = {}
        now = time.monotonic()
        for key, room in list(self.rooms.items()):
            if not room.seats and room.making is None and now - room.left_s > room.topic.keep_s:
                del self.rooms[key]
                continue
            if room.data is not None and room.marks == self._wanted(room.topic):
                continue
            try:
                text = await self._make(room)
            except Exception as error:  # one topic must not silence the others
                if room.wrong != repr(error):  # ten times a second would fill the log
                    log.exception("topic %s could not be prepared", room.topic.name)
                room.wrong = repr(error)
                continue
            room.wrong = ""
            if text:
                for seat in room.seats:
                    posts.setdefault(seat, []).append(text)
        texts: dict[tuple[str, ...], str] = {}
        for seat, messages in posts.items():
            same = tuple(messages)
            if same not in texts:
                texts[same] = "[" + ",".join(messages) + "]"
            seat.send(texts[same])

    async def _threaded(self, function: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *args)

    def _wanted(self, topic: Topic) -> tuple[Any, ...]:
        return tuple(self._marks.get(mark) for mark in topic.depends)

    async def _make(self, room: Room) -> str:
        """Make the topic anew: the message for those who have the version before, "" when nothing changed."""
        if room.making is not None:
            await room.making
            return ""
        room.making = asyncio.get_running_loop().create_future()
        try:
            if not self._marks:
                self._marks = await self._threaded(self.look)
            marks = self._wanted(room.topic)
            number = f"{self._epoch}.{room.count + 1}"
            made = await self._threaded(self._prepare, room, number)
            room.marks = marks
            if made is None:
                return ""
            data, full, patch = made
            # From here to the sending nothing else runs: who joins sees the old version or the new one.
            room.data, room.full, room.version, room.count = data, full, number, room.count + 1
            return patch
        finally:
            room.making.set_result(None)
            room.making = None

    def _prepare(self, room: Room, number: str) -> tuple[Message, str, str] | None:
        """In the thread: the new data, the message with all of it, and the one with the difference."""
        data = room.topic.make(self.services, room.viewer)
        head = {"t": room.topic.name, "v": number}
        if room.data is None:
            full = to_json({**head, "full": data})
            return data, full, full
        changes = difference(room.data, data, room.topic.keyed)
        if changes is None:
            return None
        return data, to_json({**head, "full": data}), to_json({**head, "from": room.version, **changes})
