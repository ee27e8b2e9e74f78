"""The rules as they stand at this site: the shipped ones, the site's over them; and what they say of a job."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, cast, get_args

from backend.starting import CantStart
from backend.telemetry.verdicts.conditions import BadCondition, Condition, read_condition
from backend.telemetry.verdicts.facts import FACTS, facts_of
from backend.telemetry.verdicts.wording import BadWording, Sentence, read_sentence, span

Level = Literal["good", "note", "warn", "bad"]
LEVELS: tuple[str, ...] = get_args(Level)
WORST_FIRST = {"bad": 0, "warn": 1, "note": 2, "good": 3}
SHIPPED = "rules.toml"
TOO_EARLY = "too-early"
UNDER_WAY = frozenset({"", "PENDING", "RUNNING", "SUSPENDED"})
_ID_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


class RulesUnusable(CantStart):
    """A file of rules that can't be used: which file, which rule, which key, and what is allowed."""


@dataclass(frozen=True)
class Verdict:
    """What is to be said of a job. `change` and `saves` are "" where there is nothing to say."""

    rule: str
    level: Level
    fact: str
    why: str
    change: str
    saves: str


@dataclass(frozen=True)
class Rule:
    """Of `fact`, `change` and `saves` the first sentence counts whose facts are all known."""

    id: str
    level: Level
    when: tuple[Condition, ...]  # all hold
    fact: tuple[Sentence, ...]
    why: str
    change: tuple[Sentence, ...] = ()
    saves: tuple[Sentence, ...] = ()
    min_samples: int = 0
    min_elapsed_s: int = 0
    hides: tuple[str, ...] = ()  # rules that are not worth saying beside this one
    off: bool = False


class Rulebook:
    """Read once, at start; safe in several threads."""

    def __init__(self, site_file: Path | None = None) -> None:
        """Raises RulesUnusable."""
        text = (files("backend.telemetry.verdicts") / SHIPPED).read_text(encoding="utf-8")
        raw = _read(text, SHIPPED)
        if site_file is not None:
            try:
                over = _read(site_file.read_text(encoding="utf-8"), str(site_file))
            except (OSError, UnicodeDecodeError) as error:
                raise RulesUnusable(f"{site_file} (telemetry.rules_file) can't be read: {error}") from error
            for name, (keys, source) in over.items():
                raw[name] = ({**raw[name][0], **keys} if name in raw else keys, source)
        self.rules = tuple(_rule(keys, f"{source}: rule {name}") for name, (keys, source) in raw.items())
        for rule, (_, source) in zip(self.rules, raw.values(), strict=True):
            for other in rule.hides:
                if other not in raw:
                    raise RulesUnusable(f"{source}: rule {rule.id}: hides: there is no rule {other!r}")

    def judge(self, footprint: Mapping[str, Any], job: Mapping[str, Any]) -> list[Verdict]:
        """What the rules say, the worst first; a good word only where there is no other.

        Where too little was seen of the job for the rules that would speak, the only verdict says so.
        """
        facts = facts_of(footprint, job)
        samples, elapsed_s = cast("float", facts["samples"] or 0), cast("float", facts["elapsed_s"] or 0)
        holding = [rule for rule in self.rules if not rule.off and all(each.holds(facts) for each in rule.when)]
        enough = [rule for rule in holding if samples >= rule.min_samples and elapsed_s >= rule.min_elapsed_s]
        hidden = {name for rule in enough for name in rule.hides}
        said = [
            Verdict(rule.id, rule.level, fact, rule.why, _first(rule.change, facts), _first(rule.saves, facts))
            for rule in enough
            if rule.id not in hidden and (fact := _first(rule.fact, facts))
        ]
        wrong = [each for each in said if each.level != "good"]
        if wrong:
            return sorted(wrong, key=lambda each: WORST_FIRST[each.level])
        if not said and samples and len(enough) < len(holding):
            return [_too_early(int(samples), elapsed_s, str(facts["state"] or ""))]
        return said[:1]


def _first(sentences: tuple[Sentence, ...], facts: Mapping[str, Any]) -> str:
    return next((words for each in sentences if (words := each.said(facts)) is not None), "")


def _too_early(samples: int, elapsed_s: float, state: str) -> Verdict:
    looks = "one look" if samples == 1 else f"{samples} looks"
    what = "early" if state in UNDER_WAY else "short"
    return Verdict(
        TOO_EARLY, "note", f"Too {what} to say: {looks} at the job in {span(elapsed_s)}.",
        "A job's first minutes, when it loads data and programs, say little about the rest.", "", "",
    )  # fmt: skip


@cache
def shipped() -> Rulebook:
    """The rules of a site that has none of its own."""
    return Rulebook()


def judge(footprint: Mapping[str, Any], job: Mapping[str, Any]) -> list[Verdict]:
    """What the shipped rules say of the job: a row of FOOTPRINTS (or empty) and what it asked and got."""
    return shipped().judge(footprint, job)


# -- reading -------------------------------------------------------------------------------------------------

_KEYS = frozenset(each.name for each in fields(Rule))


def _read(text: str, source: str) -> dict[str, tuple[dict[str, Any], str]]:
    """Id to what stands in the file of that rule. Raises RulesUnusable."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RulesUnusable(f"{source} is no TOML file: {error}") from error
    rules = document.pop("rule", [])
    if document:
        raise RulesUnusable(f"{source}: {sorted(document)[0]!r} is unknown; rules are written as [[rule]]")
    if not isinstance(rules, list) or not all(isinstance(each, dict) for each in rules):
        raise RulesUnusable(f"{source}: rules are written as [[rule]], one after the other")
    found: dict[str, tuple[dict[str, Any], str]] = {}
    for number, keys in enumerate(rules, 1):
        name = keys.get("id")
        if not isinstance(name, str) or not 1 <= len(name) <= 60 or not set(name) <= _ID_LETTERS:
            raise RulesUnusable(f"{source}: rule {number}: id: small letters, digits and - are wanted")
        if name in found:
            raise RulesUnusable(f"{source}: rule {name}: there are two of this id")
        if name == TOO_EARLY:
            raise RulesUnusable(f"{source}: rule {name}: this id is the console's own")
        if unknown := sorted(set(keys) - _KEYS):
            raise RulesUnusable(
                f"{source}: rule {name}: {unknown[0]!r} is unknown; a rule has {', '.join(sorted(_KEYS))}"
            )
        found[name] = (keys, source)
    return found


def _rule(keys: Mapping[str, Any], where: str) -> Rule:
    """Raises RulesUnusable."""
    level = keys.get("level")
    if level not in LEVELS:
        raise RulesUnusable(f"{where}: level: one of {', '.join(LEVELS)} is wanted")
    off = keys.get("off", False)
    if not isinstance(off, bool):
        raise RulesUnusable(f"{where}: off: true or false is wanted")
    why = keys.get("why")
    if not isinstance(why, str) or not why.strip():
        raise RulesUnusable(f"{where}: why: a text is wanted")
    facts = _sentences(keys, "fact", where)
    if not facts:
        raise RulesUnusable(f"{where}: fact: a text, or a list of them, is wanted")
    return Rule(
        id=keys["id"],
        level=level,
        when=_conditions(keys, where),
        fact=facts,
        why=why,
        change=_sentences(keys, "change", where),
        saves=_sentences(keys, "saves", where),
        min_samples=_whole(keys, "min_samples", where),
        min_elapsed_s=_whole(keys, "min_elapsed_s", where),
        hides=tuple(_texts(keys, "hides", where)),
        off=off,
    )


def _whole(keys: Mapping[str, Any], key: str, where: str) -> int:
    value = keys.get(key, 0)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise RulesUnusable(f"{where}: {key}: a whole number, 0 or more, is wanted")
    return value


def _texts(keys: Mapping[str, Any], key: str, where: str) -> list[str]:
    value = keys.get(key, [])
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
        raise RulesUnusable(f"{where}: {key}: a text, or a list of them, is wanted")
    return [each for each in texts if each.strip()]


def _sentences(keys: Mapping[str, Any], key: str, where: str) -> tuple[Sentence, ...]:
    try:
        return tuple(read_sentence(each) for each in _texts(keys, key, where))
    except BadWording as error:
        raise RulesUnusable(f"{where}: {key}: {error}") from error


def _conditions(keys: Mapping[str, Any], where: str) -> tuple[Condition, ...]:
    if "when" not in keys:
        raise RulesUnusable(f"{where}: when: a list of conditions is wanted, all of which must hold")
    try:
        return tuple(read_condition(each) for each in _texts(keys, "when", where))
    except BadCondition as error:
        raise RulesUnusable(f"{where}: when: {error}") from error


def vocabulary() -> str:
    """The facts that rules can speak of, as a table in Markdown."""
    rows = [f"| `{name}` | {fact.unit} | {fact.title} |" for name, fact in FACTS.items()]
    return "\n".join(["| fact | unit | what it is |", "|---|---|---|", *rows])
