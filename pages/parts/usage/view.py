"""What the page's address asks: read into a `View`, written back, turned into questions for the engine.

The address is the whole state: `/usage?metric=gpu_hours&by=user&window=30d&partition=gpu&partition=cpu`. A filter is
named like its dimension and comes once for each value; an empty value stands for jobs that have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast
from urllib.parse import parse_qsl, urlencode

from backend.accounting.usage import CATALOGUE, TIME, BadQuestion, Definitions, Question, Scope
from backend.accounting.usage.terms.zones import zone_of
from backend.identity import Viewer, policy
from pages.parts.usage import windows
from pages.parts.usage.windows import NoWindow, Window

CHARTS = ("time", "rank", "week", "wait", "tree", "capacity")
WHOSE = ("mine", "accounts", "all")
GRAINS = TIME
FILTERS = tuple(each.name for each in CATALOGUE.dimensions if each.kind != "time")
LONGEST_QUERY = 8000
MOST_VALUES = 200
LONGEST_VALUE = 256


@dataclass(frozen=True)
class View:
    """`by`: a dimension that is no piece of time, or "" for none. `grain`: "" chooses by the window's length.
    `since`, `until`: dates where `window` is ""; the second one is the day after the last."""

    metric: str = "cpu_hours"
    by: str = "user"
    chart: str = "time"
    window: str = windows.DEFAULT
    since: str = ""
    until: str = ""
    grain: str = ""
    who: str = "mine"
    compare: bool = False
    definitions: Definitions = "carme"
    zone: str = "UTC"
    where: tuple[tuple[str, tuple[str, ...]], ...] = ()
    sort: str = ""  # of the breakdown: a column, "-" before it for the largest first
    every: bool = False  # all rows of the breakdown

    def stretch(self, now_s: float, oldest_s: int | None, seen_s: int | None = None) -> Window:
        """The window in seconds, as of now; everything there is lies between the other two."""
        if self.window:
            return windows.named(self.window, self.zone, now_s, oldest_s, seen_s)
        return windows.between(self.since, self.until, self.zone)

    def question(self, window: Window, metrics: tuple[str, ...], by: tuple[str, ...] = ()) -> Question:
        return Question(
            metrics=metrics,
            since_s=window.since_s,
            until_s=window.until_s,
            by=by,
            where=self.where,
            zone=self.zone,
            definitions=self.definitions,
        )

    def filtered(self, dimension: str, values: tuple[str, ...]) -> View:
        """With this filter in place of the one of the same dimension; without values, without it."""
        kept = [(name, given) for name, given in self.where if name != dimension]
        if values:
            kept.append((dimension, values))
        return replace(self, where=tuple(sorted(kept, key=lambda item: FILTERS.index(item[0]))))


@dataclass(frozen=True)
class Defaults:
    """What an address leaves out."""

    metric: str = "cpu_hours"
    zone: str = "UTC"
    who: str = "mine"

    @property
    def by(self) -> str:
        return "account" if self.who == "mine" else "user"


def whose(viewer: Viewer) -> tuple[str, ...]:
    """Whose usage the viewer may choose to see, the widest last."""
    found = ["mine"]
    if viewer.coordinates:
        found.append("accounts")
    if policy.allowed(viewer, "jobs.all"):
        found.append("all")
    return tuple(found)


def scope(viewer: Viewer, who: str) -> Scope:
    """The jobs behind the choice: never more than the viewer may see, whatever is asked."""
    allowed = whose(viewer)
    chosen = who if who in allowed else allowed[-1] if who == "all" else "mine"
    if chosen == "all":
        return Scope(everything=True)
    if chosen == "accounts":
        return Scope(user=viewer.name, uid=viewer.uid, accounts=viewer.coordinates)
    return Scope(user=viewer.name, uid=viewer.uid)


def read(query: str, defaults: Defaults) -> View:
    """The view of an address's query. Raises BadQuestion for what it can't ask; what is unknown is left alone."""
    pairs = parse_qsl(query.removeprefix("?"), keep_blank_values=True) if len(query) <= LONGEST_QUERY else None
    if pairs is None:
        raise BadQuestion("query", "The address is too long.")
    given: dict[str, list[str]] = {}
    for name, value in pairs:
        given.setdefault(name, []).append(value)
    return _view({name: values[-1] for name, values in given.items()}, given, defaults)


def _view(one: Mapping[str, str], given: Mapping[str, list[str]], defaults: Defaults) -> View:
    metric = one.get("metric") or defaults.metric
    CATALOGUE.metric(metric)
    who = _one_of(one, "who", WHOSE, defaults.who)
    by = one.get("by", "account" if who == "mine" else "user")
    if by == "none":
        by = ""
    if by and CATALOGUE.dimension(by).kind == "time":
        raise BadQuestion("by", "Over time is the chart’s own choice: choose what to split it by.")
    zone = one.get("tz") or defaults.zone
    zone_of(zone)
    since, until = one.get("since", ""), one.get("until", "")
    window = "" if since and until else _one_of(one, "window", tuple(windows.NAMES), windows.DEFAULT)
    if not window:
        try:
            windows.between(since, until, zone)
        except NoWindow as error:
            raise BadQuestion("window", str(error)) from error
    return View(
        metric=metric,
        by=by,
        chart=_one_of(one, "chart", CHARTS, "time"),
        window=window,
        since="" if window else since,
        until="" if window else until,
        grain=_one_of(one, "grain", ("", *GRAINS), ""),
        who=who,
        compare=one.get("compare") == "1",
        definitions=cast(Definitions, _one_of(one, "definitions", ("carme", "xdmod"), "carme")),
        zone=zone,
        where=_filters(given),
        sort=one.get("sort", "")[:40],
        every=one.get("rows") == "all",
    )


def _one_of(given: Mapping[str, str], name: str, allowed: tuple[str, ...], default: str) -> str:
    value = given.get(name) or default
    if value not in allowed:
        raise BadQuestion(name, f"{name}: {value[:40]!r} is none of {', '.join(word for word in allowed if word)}.")
    return value


def _filters(given: Mapping[str, list[str]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    found = []
    for name in FILTERS:
        values = tuple(dict.fromkeys(given.get(name, ())))
        if not values:
            continue
        if len(values) > MOST_VALUES or any(len(value) > LONGEST_VALUE or "\x00" in value for value in values):
            raise BadQuestion(name, f"There are too many filters by {name}, or one is too long.")
        found.append((name, values))
    return tuple(found)


def write(view: View, defaults: Defaults) -> str:
    """The query of the view's address, without what the defaults say anyway."""
    plain: dict[str, Any] = {
        "metric": view.metric if view.metric != defaults.metric else "",
        "who": view.who if view.who != defaults.who else "",
        "by": (view.by or "none") if view.by != ("account" if view.who == "mine" else "user") else "",
        "chart": view.chart if view.chart != "time" else "",
        "window": view.window if view.window != windows.DEFAULT else "",
        "since": view.since,
        "until": view.until,
        "grain": view.grain,
        "compare": "1" if view.compare else "",
        "definitions": view.definitions if view.definitions != "carme" else "",
        "tz": view.zone if view.zone != defaults.zone else "",
        "sort": view.sort,
        "rows": "all" if view.every else "",
    }
    pairs = [(name, value) for name, value in plain.items() if value]
    pairs += [(name, value) for name, values in view.where for value in values]
    return urlencode(pairs)
