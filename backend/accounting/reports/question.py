"""A saved question: the fields of `Question` as JSON, with a window that may be a name.

    {"metrics": ["cpu_hours"], "by": ["month", "account"], "where": {"partition": ["gpu"]},
     "window": "last_month", "zone": "Europe/Berlin", "definitions": "carme", "order": "-cpu_hours", "limit": 100,
     "who": "all"}

In place of `window` there may be `since` and `until` (days, the second not included). `who`: "all" that the reader may
see, or "mine", the reader's own jobs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, cast

from backend.accounting.asking import read_names, read_time, read_zone
from backend.accounting.reports import windows
from backend.accounting.rights import scope_of
from backend.accounting.usage import CATALOGUE, BadQuestion, Definitions, Question, Scope
from backend.identity import Viewer

KEYS = frozenset({"metrics", "by", "where", "window", "since", "until", "zone", "definitions", "order", "limit", "who"})
WHO = ("all", "mine")
MOST_VALUES = 200
LONGEST_VALUE = 256
MOST_ROWS = 5_000_000


def read_saved(said: Mapping[str, Any], zone: str) -> dict[str, Any]:
    """What a person or a page wants to keep, checked and in full. Raises BadQuestion."""
    unknown = set(said) - KEYS
    if unknown:
        raise BadQuestion("question", f"A saved question has no {sorted(unknown)[0][:40]!r}.")
    metrics, by = _names(said, "metrics"), _names(said, "by")
    if not metrics:
        raise BadQuestion("metrics", "Ask for at least one metric.")
    for name in metrics:
        CATALOGUE.metric(name)
    for name in by:
        CATALOGUE.dimension(name)
    order = _text(said, "order")
    if order and order.removeprefix("-") not in {*metrics, *by}:
        raise BadQuestion("order", "Order by one of the metrics or dimensions that are asked for.")
    limit = said.get("limit")
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= MOST_ROWS):
        raise BadQuestion("limit", f"limit: a number from 1 to {MOST_ROWS} is wanted.")
    kept = {
        "metrics": list(metrics),
        "by": list(by),
        "where": _where(said.get("where") or {}),
        "zone": read_zone(_text(said, "zone") or zone).key,
        "definitions": _one_of(said, "definitions", ("carme", "xdmod")),
        "order": order,
        "limit": limit,
        "who": _one_of(said, "who", WHO),
        **_window(said),
    }
    resolve(kept, time.time())
    return kept


def resolve(saved: Mapping[str, Any], now_s: float) -> Question:
    """The question that a saved one asks at `now_s`. Raises BadQuestion."""
    zone = read_zone(saved["zone"])
    if saved.get("window"):
        since_s, until_s = windows.named(saved["window"], zone, now_s)
    else:
        since_s, until_s = (read_time(saved[part], zone, now_s, part) for part in ("since", "until"))
    if until_s <= since_s:
        raise BadQuestion("until", "The window is empty: it must end after it begins.")
    return Question(
        metrics=tuple(saved["metrics"]),
        since_s=since_s,
        until_s=until_s,
        by=tuple(saved["by"]),
        where=tuple((name, tuple(values)) for name, values in saved["where"].items()),
        zone=saved["zone"],
        definitions=cast(Definitions, saved["definitions"]),
        order=saved["order"],
        limit=saved["limit"],
    )


def scope_for(saved: Mapping[str, Any], viewer: Viewer) -> Scope:
    """Whose rows this reader of the report sees: never more than they may."""
    if saved.get("who") == "mine":
        return Scope(user=viewer.name, uid=viewer.uid)
    return scope_of(viewer)


def window_words(saved: Mapping[str, Any]) -> str:
    """`Last month`, or the days."""
    return windows.NAMES[saved["window"]] if saved.get("window") else f"{saved['since']} until {saved['until']}"


def _window(said: Mapping[str, Any]) -> dict[str, str]:
    name = _text(said, "window")
    if name:
        if name not in windows.NAMES:
            raise BadQuestion("window", f"There is no window {name!r}: {', '.join(windows.NAMES)}.")
        return {"window": name}
    since, until = _text(said, "since"), _text(said, "until")
    if not since or not until:
        raise BadQuestion("window", "Choose a window.")
    return {"window": "", "since": since, "until": until}


def _where(said: Any) -> dict[str, list[str]]:
    pairs = said.items() if isinstance(said, Mapping) else said
    found: dict[str, list[str]] = {}
    try:
        for name, values in pairs:
            if CATALOGUE.dimension(name, "where").kind == "time":
                raise BadQuestion("where", f"{name} is no filter: choose the window instead.")
            if not isinstance(values, (list, tuple)) or not values or not all(_is_value(value) for value in values):
                raise BadQuestion("where", f"The filter {name} has no value, or one that can't be.")
            found.setdefault(name, []).extend(dict.fromkeys(values))
    except (TypeError, ValueError) as error:
        if isinstance(error, BadQuestion):
            raise
        raise BadQuestion("where", "Filters are wanted as {dimension: [values]}.") from error
    if sum(map(len, found.values())) > MOST_VALUES:
        raise BadQuestion("where", f"At most {MOST_VALUES} values.")
    return found


def _is_value(value: Any) -> bool:
    return (
        isinstance(value, str)
        and len(value) <= LONGEST_VALUE
        and "\x00" not in value
        and not any("\ud800" <= char <= "\udfff" for char in value)
    )


def _names(said: Mapping[str, Any], part: str) -> tuple[str, ...]:
    values = said.get(part) or []
    if not isinstance(values, (list, tuple)) or not all(isinstance(value, str) for value in values):
        raise BadQuestion(part, f"{part}: a list of names is wanted.")
    return read_names(values, part)


def _text(said: Mapping[str, Any], part: str) -> str:
    value = said.get(part) or ""
    if not isinstance(value, str) or len(value) > 100:
        raise BadQuestion(part, f"{part}: a short text is wanted.")
    return value


def _one_of(said: Mapping[str, Any], part: str, allowed: tuple[str, ...]) -> str:
    value = said.get(part) or allowed[0]
    if value not in allowed:
        raise BadQuestion(part, f"{part}: one of {', '.join(allowed)} is wanted.")
    return str(value)
