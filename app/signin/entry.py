"""What the handlers of sign-in share: the cookies of each stage, and refusals in words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from datetime import datetime
from http import HTTPStatus
from typing import Any, ParamSpec, TypeVar
from urllib.parse import quote
from zoneinfo import ZoneInfo

from app.gate import cookies as names
from app.gate.paths import own_path
from app.handler import ConsoleHandler
from backend.identity import DirectoryDown, IdentityError, Pending, SignedIn, Throttled

P = ParamSpec("P")
T = TypeVar("T")


class EntryHandler(ConsoleHandler):
    """A form of sign-in."""

    @property
    def next(self) -> str:
        return own_path(self.get_argument("next", "/"))

    @property
    def user_agent(self) -> str:
        return self.request.headers.get("User-Agent", "")[:255]

    async def sign_in(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Like `run`, in threads of its own: a refused password is held back for a while."""
        executor: Executor = self.settings["sign_in_executor"]
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(executor, lambda: function(*args, **kwargs))

    def keep_half(self, pending: Pending) -> None:
        self.gate.cookies.set(self, names.HALF, pending.cookie, names.HALF_LIFE_S)

    def keep_login(self, cookie: str, known_browser: str) -> None:
        """From now on the browser is signed in; the cookie of the step before is gone."""
        self.gate.cookies.set(self, names.LOGIN, cookie, self.services.settings.login.absolute_s)
        self.gate.cookies.clear(self, names.HALF)
        if known_browser:
            self.gate.cookies.set(self, names.BROWSER, known_browser, names.BROWSER_LIFE_S)

    def begun(self, pending: Pending, path: str) -> None:
        """After a right password: to the second step, or to `path` where there is none."""
        if pending.needs == "none":
            self.keep_login(pending.cookie, pending.known_browser)
            self.go(path)
        else:
            self.keep_half(pending)
            self.go(step_two(pending.needs, path))

    def signed_in(self, login: SignedIn) -> None:
        self.keep_login(login.cookie, login.known_browser)

    def go(self, path: str) -> None:
        self.redirect(path, status=HTTPStatus.SEE_OTHER)

    def words(self, error: IdentityError) -> str:
        """The refusal for the person; a directory that is away says since when."""
        if isinstance(error, DirectoryDown):
            since = datetime.fromtimestamp(error.since_s, ZoneInfo(self.services.settings.instance.time_zone))
            return f"{error} It has been so since {since:%H:%M}."
        return str(error)

    def refused(self, template: str, error: IdentityError, **names_: Any) -> None:
        """Show the form again with what was refused."""
        status = HTTPStatus.UNPROCESSABLE_ENTITY
        if isinstance(error, Throttled):
            status = HTTPStatus.TOO_MANY_REQUESTS
            self.set_header("Retry-After", str(round(error.retry_s)))
        elif isinstance(error, DirectoryDown):
            status = HTTPStatus.SERVICE_UNAVAILABLE
        self.page(template, status=status, bad=self.words(error), **names_)


def step_two(needs: str, path: str) -> str:
    """Where the second step is shown."""
    step = "/login/code" if needs == "code" else "/login/enrol"
    return f"{step}?next={quote(path, safe='')}"
