"""What REST handlers share: operations that describe themselves, JSON bodies, errors by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, NoReturn, ParamSpec, TypeVar

from app.asking import Asking, TooManyAsked
from app.handler import ConsoleHandler
from app.reading import NoJson, read_json
from app.rest.schemas import Schema
from backend.accounting.embeds import EmbedError, NoSuchEmbed
from backend.accounting.exports import TooManyRows
from backend.accounting.history import MarkRefused, NotAsked
from backend.accounting.reports import ReportError, ReportNotFound, ReportRefused
from backend.accounting.usage import BadQuestion
from backend.accounting.warehouse import WarehouseUnusable
from backend.launcher import LauncherError
from backend.sessions import LaunchRefused, RequestError, SessionError, SessionNotFound
from backend.telemetry import TelemetryUnusable

PROBLEM_TYPE = "application/problem+json"

P = ParamSpec("P")
T = TypeVar("T")


class Problem(Exception):
    """An error of the caller's or of a part behind us; becomes problem details."""

    def __init__(self, status: int, title: str, detail: str = "", **more: Any) -> None:
        super().__init__(detail or title)
        self.status = status
        self.title = title
        self.more = more


@dataclass(frozen=True)
class Parameter:
    """A query parameter. `many`: may be given several times."""

    name: str
    schema: Schema
    description: str
    many: bool = False


@dataclass(frozen=True)
class Operation:
    """One method of one address, as the OpenAPI document tells it. `answers` maps a status to its schema."""

    summary: str
    answers: dict[int, Schema | None]
    parameters: tuple[Parameter, ...] = ()
    body: Schema | None = None
    headers: dict[str, str] = field(default_factory=dict)
    errors: tuple[int, ...] = ()
    files: dict[str, Schema] = field(default_factory=dict)  # other media types of its first answer


class RestHandler(ConsoleHandler):
    """Base of all; `operations` says what each method does, `asks` in whose threads its long questions are answered."""

    operations: ClassVar[dict[str, Operation]] = {}
    asks: ClassVar[str] = "asking"

    def problem_of(self, error: Problem) -> None:
        """Answer with it."""
        detail = str(error) if str(error) != error.title else ""
        self.problem(error.status, error.title, detail, **error.more)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Errors that have a name keep it; the rest as everywhere."""
        problem = as_problem(kwargs.get("exc_info", (None, None, None))[1])
        if problem is None:
            super().write_error(status_code, **kwargs)
        else:
            self.problem_of(problem)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Named errors are answers, not faults."""
        if as_problem(value) is None:
            super().log_exception(typ, value, tb)

    async def ask(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """A question that can take a while, in a thread of those that are for such. Raises Problem."""
        with self.turn():
            return await self.answered(lambda: function(*args, **kwargs))

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Count one more of the person's. Raises Problem."""
        try:
            with self._asking.turn(self.viewer.name):
                yield
        except TooManyAsked as error:
            raise Problem(429, "Too Many Requests", str(error)) from error

    async def answered(self, function: Callable[[], T]) -> T:
        """The answer to one that was counted."""
        return await self._asking.run(self.viewer.name, function)

    @property
    def _asking(self) -> Asking:
        found: Asking = self.settings[self.asks]
        return found

    def content(self) -> dict[str, Any]:
        """The request's body, a JSON object. Raises Problem."""
        kind = self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise Problem(415, "Unsupported Media Type", "Send application/json.")
        try:
            found = read_json(self.request.body)
        except NoJson as error:
            raise Problem(400, "Bad Request", f"The body is no JSON: {error}") from error
        if not isinstance(found, dict):
            raise Problem(400, "Bad Request", "The body must be a JSON object.")
        return found

    def texts(self, name: str) -> tuple[str, ...]:
        """A parameter that may be given several times, or with commas."""
        found = [part for value in self.get_query_arguments(name) for part in value.split(",") if part]
        if len(found) > 100:
            raise Problem(400, "Bad Request", f"{name}: at most 100 values.")
        return tuple(found)

    def text(self, name: str, default: str, allowed: tuple[str, ...] = ()) -> str:
        """A parameter that is given once. Raises Problem when it is none of `allowed`."""
        value: str = self.get_query_argument(name, default)
        if allowed and value not in allowed:
            raise Problem(400, "Bad Request", f"{name}: one of {', '.join(allowed)} is wanted.")
        return value

    def number(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number. Raises Problem outside of its bounds."""
        text = self.get_query_argument(name, str(default))
        if not re.fullmatch(r"[0-9]{1,18}", text) or not least <= int(text) <= most:
            raise Problem(400, "Bad Request", f"{name}: a number from {least} to {most} is wanted.")
        return int(text)

    def flag(self, name: str, default: bool) -> bool:
        """`true` or `false`."""
        return self.text(name, "true" if default else "false", ("true", "false")) == "true"


def not_found() -> NoReturn:
    """The same for what is not there and what is not yours."""
    raise Problem(404, "Not Found", "There is nothing here.")


def as_problem(error: BaseException | None) -> Problem | None:
    """What the parts behind us raise, as an answer; None for what nobody expected."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, SessionError):
        return _session_problem(error)
    if isinstance(error, _OF_ACCOUNTS):
        return _usage_problem(error)
    if isinstance(error, RequestError):
        return Problem(400, "Bad Request", str(error))
    if isinstance(error, LauncherError):
        status = {
            "down": 503,
            "busy": 503,
            "unavailable": 503,
            "not_allowed": 403,
            "refused": 409,
            "not_found": 404,
        }
        return Problem(status.get(error.kind, 502), "Not done", error.message)
    return None


_OF_ACCOUNTS = (
    BadQuestion, WarehouseUnusable, TooManyRows, ReportError, EmbedError, NotAsked, MarkRefused, TelemetryUnusable,
)  # fmt: skip


def _usage_problem(error: Exception) -> Problem:
    if isinstance(error, ReportNotFound | NoSuchEmbed):
        return Problem(404, "Not Found", "There is nothing here.")
    if isinstance(error, WarehouseUnusable):
        return Problem(503, "Service Unavailable", "The accounts can't be read at the moment.")
    if isinstance(error, TelemetryUnusable):
        return Problem(503, "Service Unavailable", f"What jobs used can't be read at the moment: {error}")
    if isinstance(error, TooManyRows):
        return Problem(413, "Content Too Large", str(error))
    if isinstance(error, BadQuestion | ReportRefused | NotAsked | MarkRefused):
        problems = [{"field": error.part, "message": str(error)}]
        return Problem(400, "Bad Request", str(error), problems=problems)
    return Problem(400, "Bad Request", str(error))


def _session_problem(error: SessionError) -> Problem:
    if isinstance(error, SessionNotFound):
        return Problem(404, "Not Found", "There is nothing here.")
    if isinstance(error, LaunchRefused):
        problems = [{"field": each.field, "message": each.message} for each in error.problems]
        return Problem(422, "Not launched", str(error), problems=problems)
    return Problem(409, "Conflict", str(error))
