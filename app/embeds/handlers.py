"""What an embed answers: the page for a frame, its figures as JSON, and the script that makes the frame."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from functools import cache

from app.embeds.desk import Drawn, EmbedDesk
from app.embeds.drawing import WIDTHS, EmbedLook
from app.files import WEB_FILES
from app.gate.guards import Guard, Kind, Route
from app.gate.visit import Framing
from app.handler import ConsoleHandler
from backend.accounting.embeds import Embed, EmbedGone, NoSuchEmbed
from backend.accounting.usage import BadQuestion
from backend.accounting.warehouse import WarehouseUnusable

log = logging.getLogger("carme.web")

PAGE_LOOK = {"theme": ("auto", "light", "dark")}
FIGURES_LOOK = {"theme": ("light", "dark"), "width": tuple(str(width) for width in WIDTHS)}
# Kept by the browser that asked, and asked about again each time: a revoked one ends at once.
KEEP = "private, no-cache"
HOUR_S = 3600
FOLDER = WEB_FILES / "embed"


class EmbedHandler(ConsoleHandler):
    """Knows its embed by the token in its path. Cookies are neither read nor set."""

    @property
    def desk(self) -> EmbedDesk:
        found: EmbedDesk = self.settings["embed_desk"]
        return found

    async def admitted(self, token: str, look: Mapping[str, tuple[str, ...]]) -> Embed | None:
        """The embed; None when it has been refused here. `look`: the parameters there are, and their values."""
        try:
            embed = await self.desk.admit(token)
        except NoSuchEmbed as error:
            self.refused(404, str(error))
            return None
        except EmbedGone as error:
            log.info("embed %s is over: %s", token[:16], error.why)
            self.visit.framing = Framing(error.origins)
            self.refused(410, str(error))
            return None
        self.visit.framing = Framing(embed.origins, styles=bool(embed.chart))
        for name, values in self.request.arguments.items():
            if len(values) > 1 or values[0].decode("latin-1") not in look.get(name, ()):
                self.refused(400, f"Nothing but the look of an embed can be chosen: {', '.join(look)}.")
                return None
        return embed

    def refused(self, status: int, words: str) -> None:
        """In the frame's own look, or as problem details."""
        self.set_header("Cache-Control", "no-store")
        if self.visit.route.kind is Kind.PAGE:
            self.shell(None, words, status=status)
        else:
            self.problem(status, words)

    def shell(self, embed: Embed | None, words: str, *, status: int = 200, theme: str = "auto") -> None:
        """The page of the frame; without an embed it says no more than the words."""
        self.page(
            "embed.html",
            status=status,
            embed=embed,
            embed_path=self.request.path,
            words=words,
            theme=theme,
            base=f"/assets/{_version()}/embed",
            sites=json.dumps(list(self.visit.framing.sites)),
        )


class EmbedPage(EmbedHandler):
    """`/embed/TOKEN`: the page of the frame. It holds no figures: its script asks for them."""

    async def get(self, token: str) -> None:
        embed = await self.admitted(token, PAGE_LOOK)
        if embed is not None:
            self.set_header("Cache-Control", KEEP)
            self.shell(embed, "", theme=self.get_query_argument("theme", "auto"))

    head = get


class EmbedFigures(EmbedHandler):
    """`/embed/TOKEN/figures`: what is shown, as JSON, also for a script of the sites it was made for."""

    _drawn: Drawn | None = None

    async def get(self, token: str) -> None:
        embed = await self.admitted(token, FIGURES_LOOK)
        if embed is None:
            return
        look = EmbedLook(
            dark=self.get_query_argument("theme", "light") == "dark",
            width=int(self.get_query_argument("width", str(EmbedLook.width))),
        )
        try:
            self._drawn = await self.desk.drawn(embed, look)
        except NoSuchEmbed as error:
            self.refused(404, str(error))
            return
        except BadQuestion:
            log.warning("embed %s asks what is no question here any more", embed.id)
            self.refused(410, "This figure is no longer available.")
            return
        except WarehouseUnusable as error:
            log.error("embed %s can't be computed: %s", embed.id, error)
            self.refused(503, "The figures can't be had at the moment.")
            return
        self.set_header("Cache-Control", KEEP)
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(self._drawn.body)

    head = get

    def compute_etag(self) -> str | None:
        return self._drawn.etag if self._drawn is not None else super().compute_etag()


class EmbedScript(ConsoleHandler):
    """`/embed.js`: set into another site's page by a script tag; makes the frame and keeps its height."""

    def get(self) -> None:
        self.set_header("Content-Type", "text/javascript; charset=utf-8")
        self.set_header("Cache-Control", f"public, max-age={HOUR_S}")
        self.finish(_script())

    head = get


@cache
def _script() -> bytes:
    return (FOLDER / "embed.js").read_bytes()


@cache
def _version() -> str:
    """Twelve hex digits of the frame's script and style, which a browser may keep for ever."""
    digest = hashlib.sha256()
    for path in sorted(FOLDER.iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


TOKEN = r"/embed/([A-Za-z0-9_.-]{1,100})"  # noqa: S105 - the place of one

ROUTES = [
    Route("/embed.js", Guard.EMBED, EmbedScript, Kind.ASSET),
    Route(TOKEN, Guard.EMBED, EmbedPage),
    Route(TOKEN + "/figures", Guard.EMBED, EmbedFigures, Kind.API),
]
