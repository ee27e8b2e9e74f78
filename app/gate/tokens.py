"""What a Bokeh token says about whom it was made for.

The page holds this token where its scripts can read it, so it names the login by its public id and holds no
cookie.
"""

from __future__ import annotations

import binascii
import zlib
from dataclasses import asdict, dataclass
from typing import Any

from bokeh.util.token import check_token_signature, get_token_payload

KEY = "carme"
LONGEST = 16_384  # characters; ours have about 600


@dataclass(frozen=True)
class PageToken:
    name: str
    login_id: str
    page: str  # the path of the page it was made for

    def payload(self) -> dict[str, Any]:
        return asdict(self)


def read_token(token: str, secret: bytes) -> PageToken | None:
    """Whom a token with a good signature was made for; None for any other."""
    if len(token) > LONGEST:
        return None
    try:
        if not check_token_signature(token, secret_key=secret, signed=True):
            return None
        mine = get_token_payload(token)[KEY]
        return PageToken(**mine)
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError, binascii.Error, zlib.error):
        return None
