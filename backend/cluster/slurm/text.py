"""Slurm's ways to write times, sizes, TRES and lists of hosts, read into plain values.

Every reader takes any text: what Slurm writes for "none" and what nobody understands is None (or empty).
"""

from __future__ import annotations

import re
from datetime import datetime, timezone

# Slurm's words for "no value", in the many forms of its commands
NOTHING = frozenset(
    [
        "",
        "(null)",
        "N/A",
        "n/a",
        "None",
        "NONE",
        "none",
        "NULL",
        "null",
        "Unknown",
        "UNKNOWN",
        "NOT_SET",
        "INVALID",
    ]
)
NO_LIMIT = frozenset(["UNLIMITED", "unlimited", "INFINITE", "infinite", "Partition_Limit"])

EARLIEST_S = 86_400  # before this a time is an unset one seen through some time zone
LATEST_S = 0xFFFF_FF00  # Slurm's INFINITE and NO_VAL stand just above

_DURATION = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?(?:\.\d+)?\Z")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([KMGTPE]?)i?B?[nc]?\Z", re.IGNORECASE)
_MB = {"": 1.0, "K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0**2, "P": 1024.0**3, "E": 1024.0**4}


def plain(text: str) -> str:
    """The text, or "" where Slurm writes one of its words for nothing."""
    return "" if text in NOTHING else text


def moment(text: str) -> int | None:
    """Unix seconds of a time as `SLURM_TIME_FORMAT=%s` or ISO 8601 in UTC writes it; None when it is none."""
    if text.isascii() and text.isdigit():
        seconds = int(text) if len(text) < 20 else 0
        return seconds if EARLIEST_S <= seconds < LATEST_S else None
    if len(text) < 19 or text[4] != "-":
        return None
    try:
        seconds = int(datetime.fromisoformat(text[:19]).replace(tzinfo=timezone.utc).timestamp())
    except (ValueError, OverflowError):
        return None
    return seconds if EARLIEST_S <= seconds < LATEST_S else None


def duration(text: str) -> int | None:
    """Seconds of `30`(minutes), `5:00`, `1:00:00`, `2-00:00:00`, `1-12`; None for no limit or nothing."""
    match = _DURATION.match(text) if len(text) < 40 else None
    if match is None:
        return None
    days, first, second, third = (int(part) if part else None for part in match.groups())
    if days is not None:  # D-HH[:MM[:SS]]
        total = days * 86_400 + (first or 0) * 3600 + (second or 0) * 60 + (third or 0)
    elif third is not None:
        total = (first or 0) * 3600 + (second or 0) * 60 + third
    elif second is not None:
        total = (first or 0) * 60 + second
    else:
        total = (first or 0) * 60
    return total if total < 2**40 else None


def megabytes(text: str) -> int | None:
    """MB of `1000M`, `1.5G`, `2T`, `500` (MB already), `4Gn`; None when it is no size."""
    match = _SIZE.match(text) if len(text) < 40 else None
    if match is None:
        return None
    return round(float(match[1]) * _MB[match[2].upper()])


def whole(text: str) -> int | None:
    """A whole number, also of `12K` and `1.5M` style counts below 2**62; None when it is none."""
    if text.isascii() and text.isdigit() and len(text) < 19:
        return int(text)
    return None


def tres(text: str) -> dict[str, int]:
    """`cpu=8,mem=32G,gres/gpu:a100=1` as numbers (mem in MB). What is no number is left out."""
    amounts: dict[str, int] = {}
    for item in text.split(","):
        name, equals, value = item.partition("=")
        if not equals:
            continue
        amount = megabytes(value) if name == "mem" else whole(value)
        if amount is not None:
            amounts[name] = amount
    return amounts


_GRES_GPU = re.compile(r"(?:^|,)(?:gres[:/])?gpu(?::([A-Za-z_][\w.+-]*))?(?:[:=](\d+)([KMkm]?))?(?=[,(\s]|$)")


def gres_gpus(text: str) -> dict[str, int]:
    """GPUs by type of a GRES text: `gpu:a100:4(S:0-1),gres:gpu:h100:2,gpu:1`; the untyped ones under ""."""
    found: dict[str, int] = {}
    for match in _GRES_GPU.finditer(re.sub(r"\([^)]*\)", "", text)):
        factor = {"": 1, "k": 1024, "m": 1024**2}[match[3].lower() if match[3] else ""]
        kind = match[1] or ""
        found[kind] = found.get(kind, 0) + (int(match[2]) if match[2] else 1) * factor
    return found


def tres_gpus(amounts: dict[str, int]) -> tuple[int, dict[str, int]]:
    """How many GPUs TRES amounts hold, and how many of each type. The untyped entry is the total."""
    typed = {name[9:]: count for name, count in amounts.items() if name.startswith("gres/gpu:")}
    total = amounts.get("gres/gpu")
    return (sum(typed.values()) if total is None else total), typed


def type_name(typed: dict[str, int]) -> str:
    """The type of some GPUs in one word: `a100`; several as `a100,h100`, most of them first."""
    named = sorted(((-count, kind) for kind, count in typed.items() if kind and count), key=lambda item: item)
    return ",".join(kind for _, kind in named)


MOST_HOSTS = 100_000


def hosts(text: str) -> list[str]:
    """The names of a compressed list: `node[1-3,07],login`, `r[1-2]n[1-8]`; at most MOST_HOSTS."""
    names: list[str] = []
    if plain(text) == "":
        return names
    for item in _split_outside(text):
        names.extend(_expand(item, MOST_HOSTS - len(names)))
        if len(names) >= MOST_HOSTS:
            break
    return names


def _split_outside(text: str) -> list[str]:
    """Split at the commas that stand outside brackets."""
    items, depth, start = [], 0, 0
    for index, char in enumerate(text):
        if char == "[":
            depth += 1
        elif char == "]":
            depth = max(0, depth - 1)
        elif char == "," and depth == 0:
            items.append(text[start:index])
            start = index + 1
    items.append(text[start:])
    return [item for item in items if item]


def _expand(item: str, room: int) -> list[str]:
    opening = item.find("[")
    closing = item.find("]", opening)
    if opening < 0 or closing < 0:
        return [item][: max(0, room)]
    prefix, inner, rest = item[:opening], item[opening + 1 : closing], item[closing + 1 :]
    tails = _expand(rest, room) if rest else [""]
    names: list[str] = []
    for part in inner.split(","):
        for number in _numbers(part, room - len(names)):
            names.extend(prefix + number + tail for tail in tails)
            if len(names) >= room:
                return names[: max(0, room)]
    return names


def _numbers(part: str, room: int) -> list[str]:
    first, dash, last = part.partition("-")
    if not dash:
        return [part] if part else []
    if not (first.isdigit() and last.isdigit()) or len(first) > 18 or len(last) > 18:
        return [part]
    width = len(first)
    end = min(int(last), int(first) + max(0, room))
    return [str(number).zfill(width) for number in range(int(first), end + 1)]


def count_tasks(expression: str) -> int:
    """How many tasks an array expression stands for: `4-9%2` 6, `1,3,5-7` 5, `0-20:4` 6; at least 1."""
    total = 0
    for part in expression.partition("%")[0].strip("[]").split(","):
        span, _, step = part.partition(":")
        first, dash, last = span.partition("-")
        if not first.isdigit() or len(first) > 12:
            continue
        if dash and last.isdigit() and len(last) <= 12:
            stride = int(step) if step.isdigit() and int(step) > 0 else 1
            total += max(0, (int(last) - int(first)) // stride + 1)
        else:
            total += 1
    return max(1, total)
