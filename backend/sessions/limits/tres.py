"""Slurm's counts of trackable resources as text, `cpu=64,mem=512G,gres/gpu:a100=8`, and as numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping

UNITS = {"": 1.0, "K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0**2, "P": 1024.0**3}
_ITEM = re.compile(r"([^=,]+)=(-?[0-9.]+)([KMGTP]?)")


def parse_tres(text: str | None) -> dict[str, float]:
    """Counts by name; `mem` in MB. Items without a number and negative ones (no limit) are left out."""
    counts: dict[str, float] = {}
    for item in (text or "").split(","):
        match = _ITEM.fullmatch(item.strip())
        if match is None:
            continue
        name, number, unit = match.groups()
        try:
            value = float(number)
        except ValueError:
            continue
        if value >= 0:
            counts[name] = value * UNITS[unit] if name == "mem" else value * _plain(unit)
    return counts


def _plain(unit: str) -> float:
    return {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}[unit]


def wanted_tres(*, nodes: int, cpus: int, memory_mb: int, gpus: int, gpu_type: str) -> Mapping[str, float]:
    """What a request of `nodes` equal nodes counts as; what is left open (0) is not in it."""
    counts = {"node": nodes, "cpu": cpus * nodes, "mem": memory_mb * nodes, "gres/gpu": gpus * nodes}
    if gpu_type:
        counts[f"gres/gpu:{gpu_type}"] = gpus * nodes
    return {name: float(count) for name, count in counts.items() if count}


def amount(name: str, count: float) -> str:
    """A count in words: `2 GPUs`, `64 GB of memory`."""
    if name == "mem":
        return f"{count / 1024:g} GB of memory" if count >= 1024 else f"{count:g} MB of memory"
    number = int(count)
    if name.startswith("gres/gpu:"):
        return f"{number} {name.partition(':')[2]} GPU{'s' if number != 1 else ''}"
    word = {"cpu": "CPU", "node": "node", "gres/gpu": "GPU"}.get(name, name)
    return f"{number} {word}{'s' if number != 1 else ''}"
