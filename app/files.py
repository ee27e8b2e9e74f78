"""The console's own styles, scripts and pictures."""

from __future__ import annotations

from pathlib import Path

from tornado.web import StaticFileHandler

from app.gate.guards import Guard, Kind, Route

WEB_FILES = Path(__file__).resolve().parents[1] / "assets" / "web"
YEAR_S = 365 * 86400
HOUR_S = 3600


class WebFileHandler(StaticFileHandler):
    """`/assets/NAME`, and `/assets/VERSION/NAME` for a file whose address changes with its content."""

    async def get(self, version: str, path: str, include_body: bool = True) -> None:  # type: ignore[override]
        self._versioned = bool(version)
        await super().get(path, include_body)

    async def head(self, version: str, path: str) -> None:  # type: ignore[override]
        await self.get(version, path, include_body=False)

    def set_extra_headers(self, path: str) -> None:
        age = f"max-age={YEAR_S}, immutable" if self._versioned else f"max-age={HOUR_S}"
        self.set_header("Cache-Control", f"public, {age}")


ROUTES = [
    Route(
        "/assets/(?:([0-9a-f]{12})/)?(.*)",
        Guard.OPEN,
        WebFileHandler,
        Kind.ASSET,
        arguments={"path": str(WEB_FILES)},
    )
]
