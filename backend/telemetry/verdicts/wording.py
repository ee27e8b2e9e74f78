"""Sentences with facts in them: `{memory_peak_bytes}` becomes 9.2 GB by its unit, `{gpus:GPU}` 1 GPU or 4 GPUs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from backend.telemetry.verdicts.facts import FACTS, GB, MB, Value

LONGEST = 600
_FIELD = re.compile(r"\{([^{}]*)\}")
_INSIDE = re.compile(r"(?a)([a-z][a-z0-9_]*)(?::([A-Za-z][A-Za-z -]{0,30}))?")


class BadWording(Exception):
    """What is wrong with the sentence."""


@dataclass(frozen=True)
class Sentence:
    text: str
    facts: tuple[str, ...]

    def said(self, facts: Mapping[str, Value]) -> str | None:
        """None where a fact in it is not known."""
        if any(facts.get(name) is None for name in self.facts):
            return None
        return _FIELD.sub(lambda found: _filled(found[1], facts), self.text)


def read_sentence(text: str) -> Sentence:
    """Raises BadWording."""
    if len(text) > LONGEST or any(not each.isprintable() for each in text):
        raise BadWording(f"one line of at most {LONGEST} characters is wanted")
    names = []
    for inside in _FIELD.findall(text):
        found = _INSIDE.fullmatch(inside)
        if found is None:
            raise BadWording(f"{{{inside}}} is no fact; such as {{gpu_idle_share}}, or {{gpus:GPU}} for a count")
        if found[1] not in FACTS:
            raise BadWording(f"there is no fact {found[1]!r}; there are {', '.join(sorted(FACTS))}")
        if found[2] and FACTS[found[1]].unit != "count":
            raise BadWording(f"{{{inside}}}: only a count has a noun after it, and {found[1]} is none")
        names.append(found[1])
    if "{" in _FIELD.sub("", text) or "}" in _FIELD.sub("", text):
        raise BadWording("a brace has no partner")
    return Sentence(text, tuple(names))


def _filled(inside: str, facts: Mapping[str, Value]) -> str:
    name, _, noun = inside.partition(":")
    value = facts[name]
    shown = shown_as(FACTS[name].unit, value)
    return f"{shown} {noun}{'' if value == 1 else 's'}" if noun else shown


def _percent(value: float) -> str:
    """Never 0 or 100 for what is neither."""
    if 0 < value < 1:
        return f"{max(value, 0.1):.1f}"
    return "99" if 99 < value < 100 else f"{value:.0f}"


def _size(size_bytes: float) -> str:
    if size_bytes < GB:
        return f"{size_bytes / MB:.0f} MB"
    gb = size_bytes / GB
    if gb < 1000:
        return f"{gb:.0f} GB" if gb >= 100 or gb == int(gb) else f"{gb:.1f} GB"
    return f"{gb / 1024:.1f} TB"


def span(seconds: float) -> str:
    """45 s, 12 min, 3 h 20 min, 2 d 4 h: as the browser writes it."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    days, rest = divmod(hours, 24)
    return f"{days} d {rest} h" if rest else f"{days} d"


def slurm_time(seconds: float) -> str:
    """02:00:00 or 1-12:00:00."""
    whole = int(seconds)
    days, rest = divmod(whole, 86400)
    clock = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days}-{clock}" if days else clock


def _hours(value: float) -> str:
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


_WRITTEN: dict[str, Callable[[float], str]] = {
    "count": lambda value: f"{value:,.0f}",
    "share": lambda value: f"{_percent(100 * value)} %",
    "percent": lambda value: f"{_percent(value)} %",
    "bytes": _size,
    "seconds": span,
    "hours": _hours,
    "times": lambda value: f"{value:,.1f}".removesuffix(".0"),
    "sbatch-memory": lambda value: f"{value / GB:.0f}G",
    "sbatch-time": slurm_time,
}


def shown_as(unit: str, value: Value) -> str:
    """A fact as a person reads it. Memory is in GB of 2**30 bytes, as Slurm counts it."""
    return value or "" if isinstance(value, str) or value is None else _WRITTEN[unit](value)
