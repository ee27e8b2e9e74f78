"""The conditions of a rule: comparisons of named facts, read once, never run as a program.

    gpu_idle_share >= 0.9            a fact and a number
    cpu_cores_p95 < 0.5 * cpus       a fact and a part of another
    state == "TIMEOUT"               a fact and a text
    oom_kills >= 1 or state == "OUT_OF_MEMORY"
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from backend.telemetry.verdicts.facts import FACTS, Value

LONGEST = 300
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_TEST = re.compile(
    r"""(?ax)\s* (?P<fact>[a-z][a-z0-9_]*) \s* (?P<op>>=|<=|==|!=|>|<) \s*
    (?: "(?P<text>[^"]{0,80})" | (?: (?P<factor>\d+(?:\.\d+)?) \s* \* \s* )? (?P<other>[a-z][a-z0-9_]*)
      | (?P<number>-?\d+(?:\.\d+)?) ) \s*"""
)
_OR = re.compile(r'\s+or\s+(?=(?:[^"]*"[^"]*")*[^"]*$)')  # not one within a text


class BadCondition(Exception):
    """What is wrong with it, and what would be right."""


@dataclass(frozen=True)
class Comparison:
    """One comparison. A fact that is not known fails it, whatever the operator."""

    fact: str
    op: str
    to: float | str
    factor_of: str = ""  # the other side is `to` times this fact

    def holds(self, facts: Mapping[str, Value]) -> bool:
        left = facts.get(self.fact)
        right: Value = self.to
        if self.factor_of:
            other = facts.get(self.factor_of)
            right = None if other is None else float(self.to) * float(other)
        return left is not None and right is not None and bool(OPERATORS[self.op](left, right))


@dataclass(frozen=True)
class Condition:
    """One of its comparisons is enough."""

    tests: tuple[Comparison, ...]

    def holds(self, facts: Mapping[str, Value]) -> bool:
        return any(test.holds(facts) for test in self.tests)


def read_condition(text: str) -> Condition:
    """Raises BadCondition."""
    if len(text) > LONGEST:
        raise BadCondition(f"a condition of at most {LONGEST} characters is wanted")
    return Condition(tuple(_test(part) for part in _OR.split(text)))


def _test(text: str) -> Comparison:
    found = _TEST.fullmatch(text)
    if found is None:
        raise BadCondition(f'{text.strip()!r} is no comparison; such as gpu_idle_share >= 0.9, or state == "FAILED"')
    name, op = found["fact"], found["op"]
    fact = known(name)
    if found["text"] is not None:
        if not fact.is_text:
            raise BadCondition(f"{name} is a number, and is compared with a text")
        if op not in ("==", "!="):
            raise BadCondition(f"a text is compared by == or !=, not by {op}")
        return Comparison(name, op, found["text"])
    if fact.is_text:
        raise BadCondition(f'{name} is a text: compare it with one in quotes, such as {name} == "…"')
    if found["other"] is not None:
        if known(found["other"]).is_text:
            raise BadCondition(f"{found['other']} is a text, and is compared with a number")
        return Comparison(name, op, float(found["factor"] or 1), found["other"])
    return Comparison(name, op, float(found["number"]))


def known(name: str) -> Any:
    """The fact of this name. Raises BadCondition."""
    if name not in FACTS:
        raise BadCondition(f"there is no fact {name!r}; there are {', '.join(sorted(FACTS))}")
    return FACTS[name]
