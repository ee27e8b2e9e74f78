"""Embeds: figures of saved reports for other sites' pages, made, listed and revoked."""

from __future__ import annotations

from typing import Any, ClassVar

from app.rest.base import Operation, Parameter, Problem
from app.rest.schemas import FLAG, TEXT, WHOLE, many, maybe, thing
from app.rest.usage import UsageHandler
from backend.accounting.embeds import EmbedInfo, code_of

EMBED = thing(
    {
        "id": TEXT,
        "owner": TEXT,
        "report": TEXT,
        "title": TEXT,
        "live": FLAG,
        "origins": many(TEXT),
        "created_s": WHOLE,
        "expires_s": WHOLE,
        "revoked_s": maybe(WHOLE),
        "token": maybe(TEXT),
        "url": maybe(TEXT),
        "script": maybe(TEXT),
        "iframe": maybe(TEXT),
    }
)
WANTED = thing(
    {
        "report": {"type": "string", "description": "the id of a saved report that you may see"},
        "origins": {**many(TEXT), "description": "sites that may show it: https://wiki.example.org"},
        "live": {"type": "boolean", "description": "false: figures frozen now (default true)"},
        "days": {"type": "integer", "description": "how long it holds (default and most: the site's embeds.max_days)"},
        "title": {"type": "string", "description": "above the figure (default: the report's name)"},
    },
    optional=("live", "days", "title"),
)


class EmbedsHandler(UsageHandler):
    """Shows an embed, with its code where it is the asker's own and holds."""

    def shown(self, info: EmbedInfo) -> dict[str, Any]:
        code = code_of(self.services.settings.web.public_url, info)
        return {
            "id": info.id,
            "owner": info.owner,
            "report": info.report_id,
            "title": info.title,
            "live": info.live,
            "origins": list(info.origins),
            "created_s": info.created_s,
            "expires_s": info.expires_s,
            "revoked_s": info.revoked_s,
            "token": info.token,
            "url": code.url if code else None,
            "script": code.script if code else None,
            "iframe": code.iframe if code else None,
        }


class Embeds(EmbedsHandler):
    """`/embeds`."""

    operations: ClassVar = {
        "GET": Operation(
            "Your embeds, newest first, with the code to set them into a page",
            {200: thing({"embeds": many(EMBED)})},
            parameters=(Parameter("everyones", FLAG, "true: everybody's, without their tokens, for operators"),),
            errors=(400,),
        ),
        "POST": Operation(
            "Make an embed of a saved report: whoever has its token sees the report as you may see it now",
            {201: EMBED},
            body=WANTED,
            errors=(400, 404, 415, 429, 503),
        ),
    }

    async def get(self) -> None:
        found = await self.run(self.services.embeds.listed, self.viewer, everyones=self.flag("everyones", False))
        self.json({"embeds": [self.shown(info) for info in found]})

    async def post(self) -> None:
        said = checked(self.content())
        report = await self.run(self.services.reports.get, self.viewer, said["report"])
        info = await self.ask(
            self.services.embeds.make,
            self.viewer,
            title=said.get("title") or report.name,
            question=report.question,
            chart=report.chart,
            origins=said["origins"],
            live=said.get("live", True),
            days=said.get("days"),
            report_id=report.id,
            address=self.address,
        )
        self.json(self.shown(info), status=201)


class RevokeEmbed(EmbedsHandler):
    """`/embeds/{embed}/revoke`."""

    operations: ClassVar = {"POST": Operation("End an embed at once", {200: EMBED}, errors=(404,))}

    async def post(self, embed_id: str) -> None:
        self.json(self.shown(await self.run(self.services.embeds.revoke, self.viewer, embed_id, self.address)))


def checked(said: dict[str, Any]) -> dict[str, Any]:
    """The body, each part of its kind. Raises Problem."""
    for name in said:
        if name not in WANTED["properties"]:
            raise Problem(400, "Bad Request", f"An embed has no {name[:40]!r}.")
    for name in ("report", "title"):
        if name in said and not isinstance(said[name], str):
            raise Problem(400, "Bad Request", f"{name}: a text is wanted.")
        if "\x00" in said.get(name, ""):
            raise Problem(400, "Bad Request", f"{name}: a text without a zero byte is wanted.")
    if "report" not in said:
        raise Problem(400, "Bad Request", "report: the id of a saved report is wanted.")
    origins = said.get("origins")
    if not isinstance(origins, list) or not all(isinstance(each, str) for each in origins):
        raise Problem(400, "Bad Request", "origins: a list of sites such as https://wiki.example.org is wanted.")
    if not isinstance(said.get("live", True), bool):
        raise Problem(400, "Bad Request", "live: true or false is wanted.")
    days = said.get("days")
    if days is not None and (not isinstance(days, int) or isinstance(days, bool)):
        raise Problem(400, "Bad Request", "days: a whole number is wanted.")
    return said
