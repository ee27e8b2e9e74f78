"""The one table of routes: every path the console answers, and who may pass.

What is not in it is not found, whatever handler Bokeh, Panel or a page has brought; a test walks the server's
own rules and fails on any that is missing here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tornado.web import RequestHandler

from app import embeds, private, signin
from app.account import ROUTES as ACCOUNT
from app.downloads import ROUTES as DOWNLOADS
from app.files import ROUTES as FILES
from app.gate.guards import Guard, Kind, Route
from app.health import HealthHandler, MetricsHandler, ReadyHandler
from app.jobfile import ROUTES as JOB_FILES
from app.open import ROUTES as OPEN
from app.rest import ROUTES as REST
from backend.identity.policy import TABLE
from pages import Page

OWN = [
    Route("/healthz", Guard.OPEN, HealthHandler, Kind.API),
    Route("/readyz", Guard.OPEN, ReadyHandler, Kind.API),
    Route("/metrics", Guard.METRICS, MetricsHandler, Kind.API),
    # Before Panel's own rule of this path, which imports the module that a stranger names.
    Route("/components/(.*)", Guard.USER, private.OwnComponents, Kind.ASSET),
]


class UnknownPageAction(Exception):
    """A page whose `page:<name>` the policy doesn't know: nobody could be let in."""


def build_table(pages: Sequence[Page]) -> list[Route]:
    """Every route of a console with these pages. Raises UnknownPageAction."""
    table: list[Route] = []
    for page in pages:
        table += private.page_routes(page.path, page_action(page))
    return [*private.SHARED_ROUTES, *table, *own_routes()]


def own_routes() -> list[Route]:
    """The routes with a handler of our own."""
    return [*OWN, *FILES, *signin.ROUTES, *ACCOUNT, *OPEN, *DOWNLOADS, *JOB_FILES, *REST, *embeds.ROUTES]


def page_action(page: Page) -> str:
    """The policy's action for seeing this page: `page:jobs` for `/jobs`, `page:home` for `/`."""
    action = f"page:{page.path.strip('/').replace('/', '.') or 'home'}"
    if action not in TABLE:
        raise UnknownPageAction(action)
    return action


def patterns(routes: Iterable[Route]) -> list[tuple[str, type[RequestHandler], dict[str, object]]]:
    """The routes as Tornado takes them."""
    return [(route.pattern, route.handler, dict(route.arguments)) for route in routes if route.handler]
