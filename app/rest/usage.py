"""Usage: who used what, when and how well. The same questions as `carme usage`, within what the asker may see."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, BinaryIO, ClassVar
from zoneinfo import ZoneInfo

import pyarrow as pa

from app.rest.base import Operation, Parameter, RestHandler
from app.rest.schemas import FLAG, NUMBER, TEXT, WHOLE, Schema, many, maybe, plain, thing
from backend.accounting.asking import MOST_ROWS, Words, read_filters, read_question
from backend.accounting.exports import FORMATS, Made, Sheet, file_name, sheet_of, write
from backend.accounting.rights import scope_of
from backend.accounting.usage import CATALOGUE, BadQuestion, Question

CHUNK_BYTES = 1 << 18
MOST_JOBS = 1000
VALUE: Schema = {"type": ["string", "number", "integer", "boolean", "null"]}
ROW: Schema = {"type": "object", "additionalProperties": VALUE}
SHEET = thing(
    {
        "title": TEXT,
        "question": TEXT,
        "since": maybe(TEXT),
        "until": maybe(TEXT),
        "since_s": maybe(WHOLE),
        "until_s": maybe(WHOLE),
        "zone": TEXT,
        "scope": TEXT,
        "as_of_s": maybe(WHOLE),
        "made_s": maybe(WHOLE),
        "notes": many(TEXT),
        "totals": {"type": "object", "additionalProperties": maybe(NUMBER)},
        "columns": many(thing({"name": TEXT, "kind": TEXT, "title": TEXT, "unit": TEXT, "note": TEXT})),
        "rows": many(ROW),
    }
)
FILES: dict[str, Schema] = {
    kind.media_type.partition(";")[0]: {"type": "string", "format": "binary"}
    for name, kind in FORMATS.items()
    if name != "json"
}
QUESTION = (
    Parameter("since", TEXT, "the window's beginning: 2026-11-01, 2026-11, 2026-11-01T12:00Z, today, now-30days"),
    Parameter("until", TEXT, "its end, which is not in it"),
    Parameter("metric", {"enum": [metric.name for metric in CATALOGUE.metrics]}, "what is counted", many=True),
    Parameter("by", {"enum": [each.name for each in CATALOGUE.dimensions]}, "one row for each of these", many=True),
    Parameter("where", TEXT, "key=value: only such jobs; several values of a key are alternatives", many=True),
    Parameter("tz", TEXT, "where days begin (default: the site's zone)"),
    Parameter("definitions", {"enum": ["carme", "xdmod"]}, "whose way of counting (default carme)"),
)
FORMAT = Parameter("format", {"enum": list(FORMATS)}, "how it is answered (default json)")


class UsageHandler(RestHandler):
    """Questions are read from the query; answers come as JSON or as a file."""

    def question(self, *, order: str = "", limit: int | None = None) -> Question:
        """What is asked. Raises BadQuestion."""
        return read_question(
            Words(
                since=self.get_query_argument("since", ""),
                until=self.get_query_argument("until", ""),
                metrics=self.get_query_arguments("metric"),
                by=self.get_query_arguments("by"),
                where=self.get_query_arguments("where"),
                zone=self.get_query_argument("tz", self.services.settings.instance.time_zone),
                definitions=self.get_query_argument("definitions", "carme"),
                order=order,
                limit=limit,
            ),
            time.time(),
        )

    def wanted_format(self) -> str:
        """Raises Problem."""
        return self.text("format", "json", tuple(FORMATS))

    async def deliver(self, make: Callable[[], Sheet], format_name: str, title: str) -> None:
        """The sheet in its format: made in a thread into a nameless file, sent as the reader takes it.

        It counts until it is sent: files that nobody reads on take room. Raises Problem.
        """
        with self.turn(), await self.answered(lambda: self._written(make, format_name)) as file:
            size = file.tell()
            self.set_header("Content-Type", FORMATS[format_name].media_type)
            self.set_header("Content-Length", str(size))
            if size > CHUNK_BYTES:  # compressing a large file would hold up everyone's pages
                self.set_header("Content-Encoding", "identity")
            if format_name != "json":
                name = file_name(title, format_name, dated=today(self.services.settings.instance.time_zone))
                self.set_header("Content-Disposition", f'attachment; filename="{name}"')
            file.seek(0)
            while chunk := await self.run(file.read, CHUNK_BYTES):
                self.write(chunk)
                await self.flush()

    def _written(self, make: Callable[[], Sheet], format_name: str) -> BinaryIO:
        """Blocks."""
        folder = self.services.settings.instance.data_dir / "tmp"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file: BinaryIO = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed when it is sent
        try:
            write(make(), format_name, file, scratch=folder)
        except BaseException:
            file.close()
            raise
        return file


def today(zone: str) -> str:
    """The day in the site's zone, whatever that of the process is."""
    return datetime.now(ZoneInfo(zone)).date().isoformat()


class Usage(UsageHandler):
    """`/usage`."""

    operations: ClassVar = {
        "GET": Operation(
            "Figures of the jobs you may see, in full precision, with the way each is counted",
            {200: SHEET},
            parameters=(
                *QUESTION,
                Parameter("order", TEXT, "a metric or dimension; - before it for the largest first"),
                Parameter("limit", WHOLE, "rows to give (default: all)"),
                FORMAT,
            ),
            errors=(400, 413, 429, 503),
            files=FILES,
        )
    }

    async def get(self) -> None:
        await self.deliver(self._sheet, self.wanted_format(), "usage")

    def _sheet(self) -> Sheet:
        limit = self.number("limit", 1, 1, MOST_ROWS) if "limit" in self.request.arguments else None
        question = self.question(order=self.get_query_argument("order", ""), limit=limit)
        scope = scope_of(self.viewer)
        answer = self.services.usage.ask(question, scope)
        made = Made("Usage", scope, int(time.time()), most_rows=self.services.settings.reports.max_rows)
        return sheet_of(answer, made)


class UsageJobs(UsageHandler):
    """`/usage/jobs`."""

    operations: ClassVar = {
        "GET": Operation(
            "The jobs behind a figure, one row an attempt, with what each adds; the sums are the figure",
            {
                200: thing(
                    {
                        "jobs": many(ROW),
                        "total": WHOLE,
                        "offset": WHOLE,
                        "sums": {"type": "object", "additionalProperties": maybe(NUMBER)},
                    }
                )
            },
            parameters=(
                *QUESTION,
                Parameter("cell", TEXT, "key=value of a dimension in `by`: only this figure's jobs", many=True),
                Parameter("order", TEXT, "a column or metric; - before it for the largest first (default -submit_s)"),
                Parameter("offset", WHOLE, "rows to pass over (default 0)"),
                Parameter("limit", WHOLE, f"rows to give (default 100, at most {MOST_JOBS})"),
            ),
            errors=(400, 429, 503),
        )
    }

    async def get(self) -> None:
        self.json(await self.ask(self._find))

    def _find(self) -> dict[str, Any]:
        offset = self.number("offset", 0, 0, MOST_ROWS)
        found = self.services.usage.jobs(
            self.question(),
            scope_of(self.viewer),
            self._cell(),
            order=self.get_query_argument("order", "-submit_s"),
            limit=self.number("limit", 100, 1, MOST_JOBS),
            offset=offset,
        )
        ids = [name for name in found.table.column_names if pa.types.is_uint64(found.table.schema.field(name).type)]
        rows = found.table.to_pylist()
        for row in rows:
            for name in ids:  # more digits than a number in JavaScript holds
                row[name] = None if row[name] is None else str(row[name])
        return {"jobs": plain(rows), "total": found.total_rows, "offset": offset, "sums": plain(found.sums)}

    def _cell(self) -> dict[str, str | int | None]:
        found: dict[str, str | int | None] = {}
        for name, values in read_filters(self.get_query_arguments("cell")):
            if len(values) > 1:
                raise BadQuestion("cell", f"cell: {name} can have one value.")
            found[name] = values[0] or None
        return found


class UsageCatalogue(UsageHandler):
    """`/usage/catalogue`."""

    operations: ClassVar = {
        "GET": Operation(
            "The metrics with their methods, and the dimensions",
            {
                200: thing(
                    {
                        "metrics": many(
                            thing({"name": TEXT, "title": TEXT, "unit": TEXT, "method": TEXT, "additive": FLAG})
                        ),
                        "dimensions": many(thing({"name": TEXT, "title": TEXT, "kind": TEXT})),
                    }
                )
            },
        )
    }

    async def get(self) -> None:
        self.json(plain(self.services.usage.catalogue()))
