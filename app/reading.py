"""Reading JSON that anybody may have sent."""

from __future__ import annotations

import json
from typing import Any, NoReturn


class NoJson(ValueError):
    """The bytes are no JSON, or hold what nothing behind us can: NaN, half a character, a thousand levels."""


def read_json(body: bytes) -> Any:
    """The value in `body`. Raises NoJson."""
    try:
        found = json.loads(body, parse_constant=_no_number)
        if b"\\u" in body:  # the only way to half a surrogate pair, which neither UTF-8 nor a database takes
            json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise NoJson(str(error)[:200]) from error
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON's")
