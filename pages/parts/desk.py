"""One open document: what its browser asks for and how it is answered.

A browser sends `{"id": 7, "do": "jobs.list", "with": {…}}` and gets `{"re": 7, "ok": …}` or `{"re": 7,
"error": "words", "problems": […]}`. Who asks is what the server knows of the document's login, never what the
browser says.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from bokeh.document import Document
from panel.models.esm import ESMEvent

from backend.identity import Viewer, policy
from backend.services import Services
from pages.parts.threads import Threads
from pages.parts.topics import to_json

if TYPE_CHECKING:
    from bokeh.model import Model

    from pages.parts.live import Live

log = logging.getLogger("carme.pages")

MOST_AT_ONCE = 20  # unanswered questions of one document; a browser that asks more is not ours
T = TypeVar("T")
_LONG = Threads("long")


class Refused(Exception):
    """What the person asked for is not done; the message is for them. `problems`: by field."""

    def __init__(self, message: str, problems: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems


class SignedOut(Exception):
    """The document's login is over; its socket is about to be closed."""


class Desk:
    """A document's side of the conversation. A `Seat` of the live data."""

    def __init__(self, services: Services, viewer: Viewer, live: Live, actions: Mapping[str, Action]) -> None:
        self.services = services
        self.viewer = viewer
        self.live = live
        self._actions = actions
        self._document: Document | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._model: Model | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def sit_down(self, document: Document) -> None:
        """The page is built into this document, on the event loop; leave when it goes."""
        self._document = document
        self._loop = asyncio.get_running_loop()
        document.on_session_destroyed(self._gone)

    def _gone(self, _context: object) -> None:
        self.live.leave(self)
        self._document = None
        self._model = None
        for task in self._tasks:
            task.cancel()

    # -- to the browser -------------------------------------------------------------------------------------

    def send(self, text: str) -> None:
        """Hand over a JSON text of messages, without waiting for the document's lock."""
        document, model = self._document, self._model
        if document is not None and model is not None:
            event = ESMEvent(model=model, data=text)
            document.add_next_tick_callback(partial(document.callbacks.send_event, event))

    # -- from the browser -----------------------------------------------------------------------------------

    def post(self, model: Model, message: Any) -> None:
        """A message of the browser's component `model`, from whichever thread Bokeh reads it in.

        Bokeh 3.10 reads what a browser sends in a worker; earlier releases do on the event loop.
        """
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.receive, model, message)

    def receive(self, model: Model, message: Any) -> None:
        """That message, on the event loop; answered from a task of its own."""
        if self._document is None or not isinstance(message, dict):
            return
        self._model = model
        number, action, args = message.get("id"), message.get("do"), message.get("with")
        if not isinstance(number, int) or not isinstance(action, str) or not isinstance(args, dict):
            return
        if len(self._tasks) >= MOST_AT_ONCE:
            self._answer(number, {"error": "Too much at once. Wait a moment and try again."})
            return
        task = asyncio.get_running_loop().create_task(self._do(number, action, args))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _do(self, number: int, name: str, args: dict[str, Any]) -> None:
        try:
            refuse_half_characters(args)
            result = await (await self._admitted(name))(self, args)
        except SignedOut:
            self.live.leave(self)
            self._answer(number, {"error": "signed-out"})
        except Refused as refusal:
            problems = [{"field": field, "message": message} for field, message in refusal.problems]
            self._answer(number, {"error": str(refusal), "problems": problems})
        except Exception:  # told to the person with a reference that finds it in the log
            reference = secrets.token_hex(4)
            log.exception("page action %s of %s failed (reference %s)", name, self.viewer.name, reference)
            self._answer(number, {"error": f"That went wrong; it is in the console's log as {reference}."})
        else:
            if number:
                self._answer(number, {"ok": result})

    async def _admitted(self, name: str) -> Action:
        """The action, if the login still holds and may see the action's page. Raises SignedOut, Refused."""
        viewer = await self.run(self.services.identity.viewer_of, self.viewer.login_id)
        if viewer is None:
            raise SignedOut
        self.viewer = viewer
        action = self._actions.get(name)
        if action is None:
            raise Refused("The console has been updated: reload the page.")
        page, _, rest = name.partition(".")
        if rest and not policy.allowed(viewer, f"page:{page}"):
            raise Refused("This page is not open to you.")
        return action

    def _answer(self, number: int, answer: dict[str, Any]) -> None:
        if number:
            self.send(to_json([{"re": number, **answer}]))

    async def run(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """A short blocking call, in a thread."""
        return await asyncio.to_thread(function, *args, **kwargs)

    async def ask(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """One that can take a while, once it is the person's turn: what is short does not wait for it."""
        return await _LONG.run(self.viewer.name, partial(function, *args, **kwargs))


Action = Callable[[Desk, dict[str, Any]], Awaitable[Any]]


def refuse_half_characters(args: Mapping[str, Any]) -> None:
    """JSON can carry half a surrogate pair; neither the database, Arrow nor the answer can. Raises Refused."""
    try:
        to_json(args).encode()
    except ValueError as error:  # also NaN and infinities, which no page sends
        raise Refused("That request is not one the page makes.") from error


def text(args: Mapping[str, Any], name: str, longest: int = 300) -> str:
    """A text argument, "" when it is absent. Raises Refused for anything else."""
    value = args.get(name, "")
    if not isinstance(value, str) or len(value) > longest or not whole(value):
        raise Refused("That request is not one the page makes.")
    return value


def whole(value: str) -> bool:
    """Whether it is text that can be stored and searched: JSON can hold half a surrogate pair, UTF-8 can't."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def number(args: Mapping[str, Any], name: str, default: int = 0) -> int:
    """A whole number. Raises Refused for anything else."""
    value = args.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > 2**53:
        raise Refused("That request is not one the page makes.")
    return value
