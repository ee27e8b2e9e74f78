"""Saved reports: those the asker may see, and their figures as of now within what the asker may see."""

from __future__ import annotations

from typing import Any, ClassVar

from app.rest.base import Operation, RestHandler
from app.rest.schemas import TEXT, WHOLE, Schema, many, plain, thing
from app.rest.usage import FILES, FORMAT, SHEET, UsageHandler
from backend.accounting.reports import Report

QUESTION: Schema = {
    "type": "object",
    "description": "metrics, by, where, window (or since and until), zone, definitions, order, limit, who",
}
REPORT = thing(
    {
        "id": TEXT,
        "owner": TEXT,
        "name": TEXT,
        "question": QUESTION,
        "chart": TEXT,
        "visibility": TEXT,
        "account": TEXT,
        "created_s": WHOLE,
        "changed_s": WHOLE,
    }
)


def as_json(report: Report) -> dict[str, Any]:
    """A report without its schedules."""
    return {name: plain(getattr(report, name)) for name in REPORT["properties"]}


class Reports(RestHandler):
    """`/reports`."""

    operations: ClassVar = {
        "GET": Operation("The reports you may see, your own first", {200: thing({"reports": many(REPORT)})})
    }

    async def get(self) -> None:
        found = await self.run(self.services.reports.shown, self.viewer)
        self.json({"reports": [as_json(report) for report in found]})


class OneReport(RestHandler):
    """`/reports/{report}`."""

    operations: ClassVar = {"GET": Operation("One report", {200: REPORT}, errors=(404,))}

    async def get(self, report_id: str) -> None:
        self.json(as_json(await self.run(self.services.reports.get, self.viewer, report_id)))


class RunReport(UsageHandler):
    """`/reports/{report}/run`."""

    operations: ClassVar = {
        "GET": Operation(
            "A report's figures as of now, of the jobs you may see",
            {200: SHEET},
            parameters=(FORMAT,),
            errors=(400, 404, 413, 429, 503),
            files=FILES,
        )
    }

    async def get(self, report_id: str) -> None:
        format_name = self.wanted_format()
        report = await self.run(self.services.reports.get, self.viewer, report_id)
        await self.deliver(lambda: self.services.reports.sheet_of(self.viewer, report), format_name, report.name)
