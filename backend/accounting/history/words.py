"""A question in the words of an address: the same for the page, REST, the command line and saved filters."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from backend.accounting.asking import read_time
from backend.accounting.history.question import SORTS, HistoryQuestion, NotAsked, Range
from backend.accounting.usage import BadQuestion
from backend.cluster import JOB_STATES

WINDOWS = {"24h": 86400, "7d": 7 * 86400, "30d": 30 * 86400, "90d": 90 * 86400, "365d": 365 * 86400, "all": None}
# The word and the part of the question that it fills.
LISTS = {
    "state": "states", "user": "users", "account": "accounts", "partition": "partitions", "qos": "qos",
    "cluster": "clusters", "app": "apps", "gpu": "gpu_types", "tag": "tags",
}  # fmt: skip
RANGES = {
    "gpus": "gpus", "nodes": "nodes", "cpus": "cpus", "wall": "wall_s", "cpu_eff": "cpu_percent",
    "gpu_eff": "gpu_percent", "mem_eff": "memory_percent",
}  # fmt: skip
WORDS = (*LISTS, *RANGES, "job", "name", "window", "since", "until", "who", "sort", "order")
MOST_VALUES = 100  # of one filter
LONGEST_VALUE = 128
LONGEST_NAME = 200
LARGEST = 10**9
LONGEST_TAG = 40
_TAG = re.compile(r"[\w][\w.:/+@-]*")
_NUMBER = re.compile(r"(?a)[0-9]{1,12}(?:\.[0-9]{1,6})?")
_DURATION = re.compile(r"(?a)(?:([0-9]{1,6})d)?(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,9})s?)?")
_JOB = re.compile(r"(?a)([0-9]{1,18})(?:[_+][0-9]{1,9})?")


@dataclass(frozen=True)
class Wanted:
    """A question and whose jobs it is about: `mine`, or all that the viewer may see."""

    question: HistoryQuestion
    mine: bool


def read_words(words: Mapping[str, Sequence[str]], *, zone: ZoneInfo, now_s: float, window: str = "all") -> Wanted:
    """The question that the words ask at `now_s`; `window` where they say none. Raises NotAsked."""
    unknown = [name for name in words if name not in WORDS]
    if unknown:
        raise NotAsked(unknown[0][:40], f"{unknown[0][:40]}: the history is not filtered by that.")
    found: dict[str, Any] = {part: _values(words, name) for name, part in LISTS.items()}
    found["states"] = tuple(state.upper() for state in found["states"])
    if not set(found["states"]) <= set(JOB_STATES):
        raise NotAsked("state", f"state: some of {', '.join(JOB_STATES)} are wanted.")
    found["tags"] = tuple(tag_of(value) for value in found["tags"])
    for name, part in RANGES.items():
        found[part] = read_range(name, _one(words, name))
    found["jobs"] = tuple(_job(value) for value in _values(words, "job"))
    found["name"] = _checked("name", _one(words, "name").strip(), LONGEST_NAME)
    found["since_s"], found["until_s"] = _window(words, zone, now_s, window)
    sort, way = _one(words, "sort") or "end_s", _one(words, "order") or "desc"
    if sort not in SORTS or way not in ("asc", "desc"):
        raise NotAsked("sort", f"sort: one of {', '.join(SORTS)}, and order: asc or desc.")
    who = _one(words, "who") or "own"
    if who not in ("own", "all"):
        raise NotAsked("who", "who: own or all.")
    return Wanted(HistoryQuestion(**found, sort=sort, descending=way == "desc"), who == "own")


def tag_of(text: str) -> str:
    """A tag as it is kept: in small letters. Raises NotAsked for what can be none."""
    tag = unicodedata.normalize("NFC", text.strip()).casefold()
    if not 1 <= len(tag) <= LONGEST_TAG or not _TAG.fullmatch(tag):
        raise NotAsked("tag", f"A tag is a word of 1 to {LONGEST_TAG} letters, digits and . : / + @ _ -")
    return tag


def read_range(name: str, text: str) -> Range | None:
    """`4`, `4..8`, `4..`, `..8`; of `wall` durations such as 90m, 1d12h or seconds. "": any. Raises NotAsked."""
    if not text:
        return None
    first, dots, last = text.partition("..")
    read = _duration if name == "wall" else _plain_number
    try:
        least = read(first) if first else None
        most = (read(last) if last else None) if dots else least
    except ValueError:
        least = most = None
    if (least is None and most is None) or (least is not None and most is not None and least > most):
        example = "30m..8h" if name == "wall" else "4..8"
        raise NotAsked(name, f"{name}: a number or a range such as {example} (open: 4.. or ..8) is wanted.")
    return Range(least, most)


def _plain_number(text: str) -> float:
    if not _NUMBER.fullmatch(text) or float(text) > LARGEST:
        raise ValueError
    return float(text) if "." in text else int(text)


def _duration(text: str) -> int:
    found = _DURATION.fullmatch(text)
    if not text or found is None:
        raise ValueError
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return days * 86400 + hours * 3600 + minutes * 60 + seconds


def _job(text: str) -> int:
    found = _JOB.fullmatch(text.strip())
    if found is None:
        raise NotAsked("job", "job: numbers such as 4711 or 4711_3 are wanted.")
    return int(found[1])


def _window(words: Mapping[str, Sequence[str]], zone: ZoneInfo, now_s: float, default: str) -> tuple[Any, Any]:
    since, until = _one(words, "since"), _one(words, "until")
    if not since and not until:
        name = _one(words, "window") or default
        if name not in WINDOWS:
            raise NotAsked("window", f"window: one of {', '.join(WINDOWS)}, or since and until.")
        length = WINDOWS[name]
        return (None if length is None else int(now_s) - length), None
    try:
        since_s = read_time(since, zone, now_s, "since") if since else None
        until_s = read_time(until, zone, now_s, "until") if until else None
    except BadQuestion as error:
        raise NotAsked(error.part, str(error)) from error
    if since_s is not None and until_s is not None and until_s <= since_s:
        raise NotAsked("until", "The window is empty: its end must be later than its beginning.")
    return since_s, until_s


def _values(words: Mapping[str, Sequence[str]], name: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(part.strip() for value in words.get(name, ()) for part in value.split(",")))
    found = tuple(value for value in found if value)
    if len(found) > MOST_VALUES:
        raise NotAsked(name, f"{name}: at most {MOST_VALUES} values.")
    return tuple(_checked(name, value, LONGEST_VALUE) for value in found)


def _one(words: Mapping[str, Sequence[str]], name: str) -> str:
    values = words.get(name, ())
    if len(values) > 1:
        raise NotAsked(name, f"{name}: one value is wanted.")
    return _checked(name, values[0], LONGEST_NAME) if values else ""


def _checked(name: str, value: str, longest: int) -> str:
    if len(value) > longest or "\x00" in value or any(unicodedata.category(char) == "Cs" for char in value):
        raise NotAsked(name, f"{name}: at most {longest} characters of text.")
    return value


def of_query(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Pairs of an address as words."""
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found
