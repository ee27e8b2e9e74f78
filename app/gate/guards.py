"""What a route is: the path it answers, and who may pass."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any

from tornado.web import RequestHandler


class Guard(Enum):
    """Who may pass. The words are shown in the documentation of the routes."""

    OPEN = "anyone; it holds nothing of anyone"
    ENTRY = "anyone; a way to sign in, whose forms carry a signed token"
    HALF = "one who gave a password, and one who is signed in"
    USER = "one who is signed in with every factor"
    ACTION = "one who is signed in and may do the route's action"
    METRICS = "this machine itself, or the bearer of the metrics token"
    AGENT = "an agent, whose message the handler checks against its session's secret"
    EMBED = "the bearer of an embed token, which the handler checks; from any site, and without any cookie"
    CLOSED = "nobody"


class Kind(Enum):
    """What answers, and so how a refusal looks."""

    PAGE = "page"  # refused with a page or a redirect to sign-in
    SOCKET = "socket"
    API = "api"  # refused with problem details
    ASSET = "asset"


READ = frozenset({"GET", "HEAD"})
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True)
class Route:
    """`pattern` is a regular expression of the whole path; `handler` is None where Bokeh brings its own."""

    pattern: str
    guard: Guard
    handler: type[RequestHandler] | None = None
    kind: Kind = Kind.PAGE
    methods: frozenset[str] = READ
    action: str = ""  # of the policy, for Guard.ACTION
    arguments: dict[str, Any] = field(default_factory=dict)  # of the handler's `initialize`
    page: str = ""  # the path of the Panel page it belongs to

    def __hash__(self) -> int:
        return hash((self.pattern, self.guard))

    @cached_property
    def regex(self) -> re.Pattern[str]:
        return re.compile(self.pattern if self.pattern.endswith("$") else self.pattern + "$")
