"""What was measured of one job, as a file."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from app.downloads import Download
from app.gate.guards import Guard, Kind, Route
from app.rest.jobs import job_number
from backend import jobs
from backend.accounting.exports import Sheet
from backend.accounting.exports.sheet import Column
from backend.accounting.usage import BadQuestion
from backend.telemetry import BY_NAME
from backend.telemetry.rows import wide_rows, wide_schema

FORMATS = ("csv", "xlsx", "parquet", "json")


class JobFile(Download):
    """`/downloads/job/NUMBER.FORMAT?cluster=…&submit=…&run=…&since_s=…&until_s=…`: a row a time and device."""

    async def get(self, number: str, kind: str) -> None:  # type: ignore[override]
        self._number = number
        await super().get(kind)

    async def head(self, number: str, kind: str) -> None:  # type: ignore[override]
        await super().head(kind)

    @contextmanager
    def sheet(self) -> Iterator[Sheet]:
        cluster = self.get_query_argument("cluster", None)
        record = jobs.look(self.services, self.viewer, job_number(self._number), cluster, self._time("submit"))
        start_s = self._time("run")
        runs = [run for run in record.runs() if start_s in (None, run.start_s)]
        telemetry = self.services.telemetry
        devices = telemetry.devices(runs[0]) if runs else ()
        schema = wide_schema(devices)
        since_s, until_s = self._time("since_s"), self._time("until_s")
        rows = wide_rows(telemetry, runs[0], devices, since_s=since_s, until_s=until_s) if runs else iter(())
        yield Sheet(
            title=f"Job {record.facts()['label']}",
            columns=(
                Column("time_s", "time", "Time"),
                Column("node", "text", "Node"),
                Column("device", "text", "Device"),
                *(Column(name, "number", BY_NAME[name].title, BY_NAME[name].unit) for name in schema.names[3:]),
            ),
            rows=pa.RecordBatchReader.from_batches(schema, rows),
            since_s=since_s or (runs[0].start_s if runs else None),
            until_s=until_s or (runs[0].end_s if runs else None),
            zone=self.zone,
            made_s=int(time.time()),
            most_rows=self.most_rows,
        )

    def _time(self, name: str) -> int | None:
        """Unix seconds of the address, None where it has none. Raises BadQuestion."""
        text = self.get_query_argument(name, "")
        if text and not re.fullmatch(r"[0-9]{1,12}", text):
            raise BadQuestion(name, f"{name}: Unix seconds are wanted.")
        return int(text) if text else None


ROUTES = [
    Route(
        f"/downloads/job/([0-9a-z]+)\\.({'|'.join(FORMATS)})", Guard.ACTION, JobFile, Kind.PAGE, action="page:job"
    )
]  # fmt: skip
