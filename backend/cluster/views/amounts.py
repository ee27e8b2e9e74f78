"""Amounts as people say them: `8 GPUs`, `2 a100 GPUs`, `64 GB of memory`, `2 hours`."""

from __future__ import annotations


def amount(key: str, number: int | None, *, bare: bool = False, noun: bool = False) -> str:
    """A TRES amount in words. `bare`: the number alone (memory keeps its unit); `noun`: the thing alone."""
    number = number or 0
    one = number == 1
    if key == "mem":
        size = f"{number / 1024:g} GB" if number % 1024 == 0 or number > 10_240 else f"{number} MB"
        if number > 10_240 and number % 1024:
            size = f"{number / 1024:.1f} GB"
        return "memory" if noun else size if bare else f"{size} of memory"
    if bare:
        return str(number)
    name = {
        "cpu": "CPU" if one else "CPUs",
        "node": "node" if one else "nodes",
        "billing": "billing unit" if one else "billing units",
        "gres/gpu": "GPU" if one else "GPUs",
    }.get(key)
    if name is None and key.startswith("gres/gpu:"):
        name = f"{key[9:]} {'GPU' if one else 'GPUs'}"
    if name is None:
        name = key.removeprefix("gres/").removeprefix("license/")
    return name if noun else f"{number} {name}"


def as_duration(seconds: int) -> str:
    """`45 seconds`, `5 minutes`, `2 hours`, `1 hour 30 minutes`, `2 days`: the two largest units."""
    seconds = max(0, int(seconds))
    if seconds < 60:
        return _count(seconds, "second")
    minutes = seconds // 60
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    parts = [_count(number, unit) for number, unit in ((days, "day"), (hours, "hour"), (minutes, "minute")) if number]
    return " ".join(parts[:2])


def _count(number: int, unit: str) -> str:
    return f"{number} {unit}{'' if number == 1 else 's'}"
