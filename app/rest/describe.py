"""The API's own description."""

from __future__ import annotations

from typing import ClassVar

from app.rest.base import Operation, RestHandler


class Description(RestHandler):
    """`/openapi.json`."""

    operations: ClassVar = {"GET": Operation("This document", {200: {"type": "object"}})}

    async def get(self) -> None:
        from app.rest.openapi import document  # it walks the table, which this handler is part of

        self.json(document(self.services.settings.web.public_url))
