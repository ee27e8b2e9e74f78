"""The token in an embed's address: which one it is, and a signature over everything that it gives.

It is a bearer token: who has it sees what it shows, whatever site they come from. It is not kept anywhere; the
maker's copy can be made again from the row and the instance's key, and a row that was changed by other hands has
no valid token any more.
"""

from __future__ import annotations

import base64
import json
import re
import secrets

from backend.store import SecretBox, same
from backend.store.models import EmbedToken

PURPOSE = "embed token 1"
_TOKEN = re.compile(r"(?a)([0-9a-f]{16})\.([A-Za-z0-9_-]{43})")


def new_id() -> str:
    return secrets.token_hex(8)


def token_of(box: SecretBox, row: EmbedToken) -> str:
    """The token of a row: 60 characters that may stand in a path."""
    return f"{row.id}.{_signature(box, row)}"


def id_of(token: str) -> str | None:
    """Which one a token says it is; None for what can be no token."""
    read = _TOKEN.fullmatch(token)
    return read[1] if read else None


def is_token_of(box: SecretBox, row: EmbedToken, token: str) -> bool:
    """In constant time."""
    return same(token, token_of(box, row))


def _signature(box: SecretBox, row: EmbedToken) -> str:
    said = {
        "id": row.id,
        "owner": row.owner,
        "title": row.title,
        "question": row.question,
        "chart": row.chart,
        "scope": row.scope,
        "origins": row.origins,
        "frozen": row.frozen_digest,
        "created_s": row.created_s,
        "expires_s": row.expires_s,
    }
    mac = bytes.fromhex(box.hmac(PURPOSE, json.dumps(said, sort_keys=True)))
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()
