"""The REST API under `/api/v1`: the console's facts and actions as JSON, for scripts of the person's own.

Who may call is decided by the gate (login cookie; `X-CSRF-Token` where something changes), what they may do
by the same policy as the pages. Errors are problem details (RFC 9457). `openapi.json` is made from the
handlers themselves.
"""

from __future__ import annotations

from app.rest.openapi import document
from app.rest.table import ROUTES

__all__ = ["ROUTES", "document"]
