"""How the web processes and the telemetry process talk over its Unix socket: a line of JSON, then as many bytes as it
says, each way; one after another on a connection. Only the console's own account can connect (mode 0600).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from pathlib import Path
from typing import Any

HEAD_LIMIT_BYTES = 256 * 1024
CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 60.0
MOST_BYTES = 1 << 30


class ProcessAway(Exception):
    """The telemetry process doesn't answer."""

    def __init__(self) -> None:
        super().__init__("The telemetry process doesn't answer; it is started by `carme serve`.")


def socket_path(data_dir: Path) -> Path:
    """Where the telemetry process listens."""
    return data_dir / "run" / "telemetry.sock"


def message(head: dict[str, Any], body: bytes = b"") -> bytes:
    """A message as its bytes."""
    return json.dumps(head | {"length": len(body)}, separators=(",", ":")).encode() + b"\n" + body


async def receive(reader: asyncio.StreamReader, most_bytes: int = MOST_BYTES) -> tuple[dict[str, Any], bytes] | None:
    """The next message; None at the end. Raises OSError, ValueError."""
    line = await reader.readline()
    if not line:
        return None
    head = json.loads(line)
    length = head.pop("length")
    if not 0 <= length <= most_bytes:
        raise ValueError("a message that is too long")
    return head, await reader.readexactly(length) if length else b""


async def ask(path: Path, head: dict[str, Any], body: bytes = b"") -> tuple[dict[str, Any], bytes]:
    """One question, from an event loop. Raises ProcessAway."""
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(str(path), limit=HEAD_LIMIT_BYTES)
    except (OSError, TimeoutError) as error:
        raise ProcessAway from error
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            writer.write(message(head, body))
            await writer.drain()
            answer = await receive(reader)
    except (OSError, TimeoutError, ValueError, EOFError) as error:
        raise ProcessAway from error
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    if answer is None:
        raise ProcessAway
    return answer


def ask_blocking(path: Path, head: dict[str, Any], timeout_s: float = ANSWER_TIMEOUT_S) -> tuple[dict[str, Any], bytes]:
    """The same for threads. Raises ProcessAway."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(CONNECT_TIMEOUT_S)
        try:
            connection.connect(str(path))
            connection.settimeout(timeout_s)
            connection.sendall(message(head))
            with connection.makefile("rb") as source:
                answer = json.loads(source.readline(HEAD_LIMIT_BYTES))
                body = source.read(answer.pop("length"))
        except (OSError, ValueError, KeyError) as error:
            raise ProcessAway from error
    return answer, body
