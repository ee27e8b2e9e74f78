"""Sessions: one's interactive work as cards; stop, log, relaunch, remove."""

from __future__ import annotations

from typing import Any

from backend.identity import Viewer
from backend.services import Services
from backend.sessions import SessionError
from pages.parts.cards import card
from pages.parts.desk import Action, Desk, Refused, text
from pages.parts.topics import Message, Topic

LOG_BYTES = 64 * 1024

TOPICS: tuple[Topic, ...] = ()  # it shows "mine", as Home does


def build(services: Services, viewer: Viewer) -> Any:
    """The page at `/sessions`."""
    from pages.shell import page  # the shell knows every page, so it comes last

    return page(services, viewer, "sessions")


async def stop(desk: Desk, args: dict[str, Any]) -> Message:
    try:
        session = await desk.services.sessions.stop(desk.viewer, text(args, "id"))
    except SessionError as error:
        raise Refused(str(error)) from error
    return card(session)


async def keep(desk: Desk, args: dict[str, Any]) -> Message:
    try:
        session = await desk.run(desk.services.sessions.keep, desk.viewer, text(args, "id"))
    except SessionError as error:
        raise Refused(str(error)) from error
    return card(session)


async def remove(desk: Desk, args: dict[str, Any]) -> Message:
    try:
        await desk.run(desk.services.sessions.remove, desk.viewer, text(args, "id"))
    except SessionError as error:
        raise Refused(str(error)) from error
    return {}


async def log_tail(desk: Desk, args: dict[str, Any]) -> Message:
    try:
        tail = await desk.services.sessions.log_tail(desk.viewer, text(args, "id"), LOG_BYTES)
    except SessionError as error:
        raise Refused(str(error)) from error
    return {"text": tail}


ACTIONS: dict[str, Action] = {
    "sessions.stop": stop,
    "sessions.keep": keep,
    "sessions.remove": remove,
    "sessions.log": log_tail,
}
