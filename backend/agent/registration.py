"""Telling the console where the gateway listens and how long nobody used it, without the secret ever travelling.

A message is JSON `{"session", "port", "node", "time_s", "apps", "idle_s", "idle_timeout_s", "mac"}`; `mac` is the hex
HMAC-SHA256, keyed with the session's secret, over the canonical JSON of the rest. The console checks it with
`is_signed`, and that `time_s` never moves back. It answers 204, or 410 when the session is over. Since anything may
answer on the port of a console that is down, a 410 counts only with a body that is signed the same way and names the
message it answers: `json.dumps(over_answer(secret, message))`. A 200, signed alike, says how long ago the person chose
to keep the session: `json.dumps(kept_answer(secret, message, ago_s))`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any, NamedTuple

from .http_post import Connection

REGISTER_TIMEOUT_S = 10


class Unreachable(OSError):
    """The console doesn't answer now (or a proxy says so); try again later."""


class Refused(Exception):
    """The console answers, but not to this message."""


def canonical(message: dict[str, Any]) -> bytes:
    """The bytes that are signed: sorted keys, no blanks, ASCII only, without `mac`."""
    rest = {key: value for key, value in message.items() if key != "mac"}
    return json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def mac_of(secret: str, message: dict[str, Any]) -> str:
    """Hex HMAC-SHA256 of a message."""
    return hmac.new(secret.encode(), canonical(message), hashlib.sha256).hexdigest()


def signed(secret: str, message: dict[str, Any]) -> dict[str, Any]:
    """The message with its mac."""
    return {**message, "mac": mac_of(secret, message)}


def is_signed(secret: str, message: dict[str, Any]) -> bool:
    """Whether the message carries the mac of this secret. Constant time; False for anything malformed."""
    mac = message.get("mac")
    return isinstance(mac, str) and mac.isascii() and hmac.compare_digest(mac, mac_of(secret, message))


def over_answer(secret: str, message: dict[str, Any]) -> dict[str, Any]:
    """The body of a 410: this session is over, in answer to this very message."""
    return signed(secret, {"over": True, "session": message["session"], "answers": message["mac"]})


def is_over(secret: str, message: dict[str, Any], body: bytes) -> bool:
    """Whether a 410's body is the console's own word on `message`."""
    return _own_word(secret, message, body).get("over") is True


def _own_word(secret: str, message: dict[str, Any], body: bytes) -> dict[str, Any]:
    """A signed answer to this very message; empty for anything else."""
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    if not isinstance(answer, dict) or not is_signed(secret, answer):
        return {}
    own = answer.get("session") == message["session"] and answer.get("answers") == message["mac"]
    return answer if own else {}


def kept_answer(secret: str, message: dict[str, Any], ago_s: int) -> dict[str, Any]:
    """The body of a 200: the person chose to keep this session so long ago, in answer to this very message."""
    return signed(secret, {"kept_ago_s": ago_s, "session": message["session"], "answers": message["mac"]})


def kept_ago_s(secret: str, message: dict[str, Any], body: bytes) -> int | None:
    """What a 200's body says, if it is the console's own word on `message`."""
    answer = _own_word(secret, message, body)
    ago_s = answer.get("kept_ago_s")
    return ago_s if type(ago_s) is int and ago_s >= 0 else None


def post(url: str, path: str, message: dict[str, Any], ca_pem: str = "") -> tuple[int, bytes]:
    """Send one message; returns status and body. Blocking. Raises Unreachable. No HTTP proxy is used."""
    headers = {"Content-Type": "application/json", "Connection": "close"}
    try:
        answer = Connection(url, timeout_s=REGISTER_TIMEOUT_S, ca_pem=ca_pem).post(
            path, json.dumps(message).encode(), headers
        )
    except (OSError, ValueError) as error:
        raise Unreachable(f"{url}: {error}") from error
    return answer.status, answer.body


class Standing(NamedTuple):
    """What the console says of the session; `kept_ago_s`: when the person last chose to keep it, None: not since."""

    over: bool = False
    kept_ago_s: int | None = None


def register(secret: str, url: str, path: str, message: dict[str, Any], ca_pem: str = "") -> Standing:
    """Register once. Raises Unreachable, Refused. Blocking."""
    sent = signed(secret, message)
    status, body = post(url, path, sent, ca_pem)
    if status == 204:
        return Standing()
    if status == 200 and (ago_s := kept_ago_s(secret, sent, body)) is not None:
        return Standing(kept_ago_s=ago_s)
    if status == 410 and is_over(secret, sent, body):
        return Standing(over=True)
    if status >= 500:
        raise Unreachable(f"the console answers {status}")
    raise Refused(f"the console answers {status}" + (" without its signature" if status in (200, 410) else ""))
