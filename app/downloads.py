"""Figures as files: made in a thread into a nameless temporary file, then sent with its length as the reader takes it.

So a slow reader holds no thread and no cursor, memory stays a batch of rows, and a fault is an error page instead of
half a file.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from zoneinfo import ZoneInfo

from tornado.iostream import StreamClosedError

from app.gate.guards import Guard, Kind, Route
from app.handler import ConsoleHandler
from backend.accounting.asking import read_time, read_zone
from backend.accounting.exports import (
    FORMATS,
    Made,
    Sheet,
    TooManyRows,
    billing_jobs,
    billing_months,
    file_name,
    job_rows,
    sheet_of,
    when,
    write,
)
from backend.accounting.reports import ReportNotFound
from backend.accounting.usage import BadQuestion
from backend.accounting.warehouse import WarehouseUnusable
from backend.jobs import JobNotFound
from backend.store import audit
from backend.telemetry import TelemetryUnusable
from pages.parts.usage import drill, view
from pages.parts.usage.picture import asks
from pages.usage import asker_of, defaults_of

log = logging.getLogger("carme.downloads")

AT_ONCE = 2  # files made at a time; each takes a core
MOST_OF_ONE = 3  # files of one person that are being made or sent
MOST = 50
CHUNK_BYTES = 1 << 18
FORMAT = "(" + "|".join(FORMATS) + ")"


@dataclass
class Downloads:
    """Of one web process: who is at it, and the threads that make files."""

    folder: Path  # of temporary files
    executor: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(AT_ONCE, thread_name_prefix="download")
    )
    of: Counter[str] = field(default_factory=Counter)

    def enter(self, person: str) -> bool:
        """Count one more of the person's; False when there are too many."""
        if self.of[person] >= MOST_OF_ONE or self.of.total() >= MOST:
            return False
        self.of[person] += 1
        return True

    def leave(self, person: str) -> None:
        self.of[person] -= 1
        if self.of[person] <= 0:
            del self.of[person]


class Download(ConsoleHandler):
    """Base of all: `sheet` says what is in the file."""

    def initialize(self) -> None:
        if "downloads" not in self.settings:
            self.settings["downloads"] = Downloads(self.services.settings.instance.data_dir / "tmp")
        self.downloads: Downloads = self.settings["downloads"]

    def sheet(self) -> AbstractContextManager[Sheet]:
        """What is asked for, in a thread. Raises BadQuestion, TooManyRows, ReportNotFound."""
        raise NotImplementedError

    @property
    def most_rows(self) -> int:
        return self.services.settings.reports.max_rows

    @property
    def zone(self) -> str:
        """That of the address, else the site's. Raises BadQuestion."""
        return read_zone(self.get_query_argument("tz", self.services.settings.instance.time_zone)).key

    async def get(self, kind: str) -> None:
        """The file, as an attachment."""
        person = self.viewer.name
        if not self.downloads.enter(person):
            self.refuse(429, "Several files are being made for you already. Wait until they are there.")
            return
        try:
            await self._answer(kind)
        finally:
            self.downloads.leave(person)

    async def head(self, kind: str) -> None:
        """What the file is, without making it."""
        self.set_header("Content-Type", FORMATS[kind].media_type)
        self.finish()

    async def _answer(self, kind: str) -> None:
        loop = asyncio.get_running_loop()
        try:
            name, file = await loop.run_in_executor(self.downloads.executor, self._make, kind)
        except BadQuestion as error:
            self.refuse(400, str(error))
        except ReportNotFound as error:
            self.refuse(404, str(error))
        except JobNotFound:
            self.refuse(404, "There is no such job, or it is not yours to see.")
        except TooManyRows as error:
            self.refuse(413, str(error))
        except WarehouseUnusable as error:
            self.refuse(503, f"The accounts can't be read: {error}")
        except TelemetryUnusable as error:
            self.refuse(503, f"What was measured can't be read: {error}")
        else:
            with file:
                await self._send(kind, name, file)

    def _make(self, kind: str) -> tuple[str, BinaryIO]:
        """The file's name, and the file."""
        self.downloads.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file: BinaryIO = tempfile.TemporaryFile(dir=self.downloads.folder)  # noqa: SIM115 - closed when it is sent
        try:
            with self.sheet() as sheet:
                write(sheet, kind, file, scratch=self.downloads.folder)
        except BaseException:
            file.close()
            raise
        return file_name(sheet.title, kind, dated=dated(sheet)), file

    async def _send(self, kind: str, name: str, file: BinaryIO) -> None:
        self.set_header("Content-Type", FORMATS[kind].media_type)
        self.set_header("Content-Length", str(file.tell()))
        self.set_header("Content-Disposition", f'attachment; filename="{name}"')
        self.set_header("Content-Encoding", "identity")  # compressing a large file would hold up everyone's pages
        self.set_header("Cache-Control", "no-store")
        file.seek(0)
        try:
            while chunk := await self.run(file.read, CHUNK_BYTES):
                self.write(chunk)
                await self.flush()
        except StreamClosedError:
            log.debug("the reader of %s went away", name)


class UsageFile(Download):
    """`/downloads/usage.FORMAT`: the table of what the usage page shows at the same query."""

    def sheet(self) -> AbstractContextManager[Sheet]:
        asker = asker_of(self.services, self.viewer, view.read(self.request.query, self._defaults()))
        metrics, by = asks(asker)
        answer = asker.ask((*metrics, *self._more()), by)
        made = Made("Usage", asker.scope, int(time.time()), most_rows=self.most_rows)
        return nullcontext(sheet_of(answer, made))

    def _defaults(self) -> view.Defaults:
        return defaults_of(self.services, self.viewer)

    def _more(self) -> tuple[str, ...]:
        """Further metrics in columns of their own: `also=jobs&also=wait_hours`."""
        return tuple(self.get_query_arguments("also"))[:MOST_METRICS]


MOST_METRICS = 30


class JobsFile(UsageFile):
    """`/downloads/jobs.FORMAT`: the jobs behind what the usage page shows; `cell` is the mark that was opened."""

    @contextmanager
    def sheet(self) -> Iterator[Sheet]:
        asker = asker_of(self.services, self.viewer, view.read(self.request.query, self._defaults()))
        question, cell = drill.behind(asker, drill.read_cell(self.get_query_argument("cell", "")), asker.view.metric)
        made = Made("Jobs", asker.scope, int(time.time()), "none", self.most_rows)
        with job_rows(self.services.usage, question, made, cell) as sheet:
            yield sheet


class AccountingFile(Download):
    """`/downloads/accounting.FORMAT?since=…&until=…`: everything of everyone, for billing; a row a job, or
    (`rows=months`) an account and month."""

    @contextmanager
    def sheet(self) -> Iterator[Sheet]:
        zone, now_s = ZoneInfo(self.zone), time.time()
        since_s, until_s = (
            read_time(self.get_query_argument(name, ""), zone, now_s, name) for name in ("since", "until")
        )
        rows = self.get_query_argument("rows", "jobs")
        if until_s <= since_s or rows not in ("jobs", "months"):
            raise BadQuestion("until", "A window is wanted that ends after it begins, and rows=jobs or rows=months.")
        with self.services.db.begin() as lines:
            audit(
                lines,
                self.viewer.name,
                "accounting.export",
                rows,
                "done",
                self.address,
                since_s=since_s,
                until_s=until_s,
            )
        if rows == "months":
            yield billing_months(self.services.usage, since_s, until_s, zone.key, self.most_rows)
        else:
            with billing_jobs(
                self.services.usage, since_s, until_s, zone.key, self.most_rows, scratch=self.downloads.folder
            ) as sheet:
                yield sheet


class ReportFile(Download):
    """`/downloads/report.FORMAT?id=…`: a saved report as of now, with the rows its reader may see."""

    def sheet(self) -> AbstractContextManager[Sheet]:
        return nullcontext(self.services.reports.sheet(self.viewer, self.get_query_argument("id", "")))


def dated(sheet: Sheet) -> str:
    """The window for a file's name: its first and last day."""
    if sheet.since_s is None or sheet.until_s is None:
        return ""
    first, last = (when(at_s, sheet.zone)[:10] for at_s in (sheet.since_s, sheet.until_s - 1))
    return first if first == last else f"{first}-to-{last}"


ROUTES = [
    Route(f"/downloads/{what}\\.{FORMAT}", Guard.ACTION, handler, Kind.PAGE, action=action)
    for what, handler, action in (
        ("usage", UsageFile, "page:usage"),
        ("jobs", JobsFile, "page:usage"),
        ("accounting", AccountingFile, "accounting.export"),
        ("report", ReportFile, "page:reports"),
    )
]
