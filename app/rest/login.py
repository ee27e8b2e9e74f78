"""Who is asking."""

from __future__ import annotations

from typing import ClassVar

from app.rest.base import Operation, RestHandler
from app.rest.schemas import TEXT, many, thing


class OwnLogin(RestHandler):
    """`/login`."""

    operations: ClassVar = {
        "GET": Operation(
            "Who you are here, and the token that requests which change something carry as X-CSRF-Token",
            {
                200: thing(
                    {
                        "name": TEXT,
                        "display_name": TEXT,
                        "roles": many(TEXT),
                        "coordinates": many(TEXT),
                        "csrf_token": TEXT,
                    }
                )
            },
        )
    }

    async def get(self) -> None:
        viewer = self.viewer
        self.json(
            {
                "name": viewer.name,
                "display_name": viewer.display_name,
                "roles": sorted(viewer.roles),
                "coordinates": sorted(viewer.coordinates),
                "csrf_token": self.services.identity.csrf_token(viewer.login_id),
            }
        )
