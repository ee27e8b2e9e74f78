"""sacct's TRES texts and memory sizes, read once for each different text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from backend.cluster.slurm import tres

GPU = "gres/gpu"
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([KMGTPE]?)([nc]?)\Z", re.IGNORECASE)
_MB = {"": 1.0, "K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0**2, "P": 1024.0**3, "E": 1024.0**4}
# Before Slurm 17.02 memory per CPU was marked by the highest of 32 bits; a later sacct prints the bare number.
OLD_PER_CPU_MB = 1 << 31

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Tres:
    """A column of TRES texts; arrays of its length."""

    cpus: Ints
    nodes: Ints
    gpus: Ints
    billing: Ints
    mem_mb: pa.Array
    energy_j: pa.Array
    gpu_type: pa.Array
    text: pa.Array  # in order of name, without the energy
    empty: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _One:
    cpus: int = 0
    nodes: int = 0
    gpus: int = 0
    billing: int = 0
    mem_mb: int | None = None
    energy_j: int | None = None
    gpu_type: str | None = None
    text: str = ""


def allocated(column: pa.ChunkedArray | None, count: int) -> Tres:
    """`billing=8,cpu=8,gres/gpu:a100=1,mem=32G,node=1` of each row. Without the column nothing is known."""
    if column is None:
        found, codes = [_One()], np.zeros(count, np.int64)
    else:
        coded = column.combine_chunks().dictionary_encode()
        found = [_one(text) for text in coded.dictionary.to_pylist()]
        codes = coded.indices.to_numpy()

    def numbers(name: str) -> Ints:
        return np.array([getattr(one, name) for one in found], np.int64)[codes] if found else np.zeros(0, np.int64)

    def values(name: str, kind: pa.DataType) -> pa.Array:
        return pa.array([getattr(one, name) for one in found], kind).take(pa.array(codes))

    return Tres(
        cpus=numbers("cpus"),
        nodes=numbers("nodes"),
        gpus=numbers("gpus"),
        billing=numbers("billing"),
        mem_mb=values("mem_mb", pa.int64()),
        energy_j=values("energy_j", pa.int64()),
        gpu_type=values("gpu_type", pa.string()),
        text=values("text", pa.string()),
        empty=np.array([not one.text for one in found], bool)[codes] if found else np.zeros(0, bool),
    )


@lru_cache(100_000)
def _one(text: str) -> _One:
    amounts = tres(text)
    typed = {name.removeprefix(f"{GPU}:"): n for name, n in amounts.items() if name.startswith(f"{GPU}:") and n}
    kinds = ",".join(f"{kind}={n}" for kind, n in sorted(typed.items())) if len(typed) > 1 else "".join(typed)
    parts = [part for part in text.split(",") if "=" in part and not part.startswith("energy=")]
    return _One(
        cpus=amounts.get("cpu", 0),
        nodes=amounts.get("node", 0),
        gpus=amounts.get(GPU, sum(typed.values())),
        billing=amounts.get("billing", 0),
        mem_mb=amounts.get("mem"),
        energy_j=amounts.get("energy") or None,
        gpu_type=kinds or None,
        text=",".join(sorted(parts)),
    )


def memory_mb(text: str) -> int | None:
    """MB of `1816K`, `2.50G`, `48000Mn`; None when it is no size."""
    match = _SIZE.match(text)
    return round(float(match[1]) * _MB[match[2].upper()]) if match else None


def requested_memory(column: pa.ChunkedArray | None, cpus: Ints, nodes: Ints, count: int) -> pa.Array:
    """MB of the whole job: `48000Mn` for each node, `4000Mc` for each CPU, `4000M` of a later release for all."""
    if column is None:
        return pa.nulls(count, pa.int64())
    coded = column.combine_chunks().dictionary_encode()
    found = [_request(text) for text in coded.dictionary.to_pylist()]
    codes = coded.indices.to_numpy()
    result: list[int | None] = []
    for code, cpu, node in zip(codes.tolist(), cpus.tolist(), nodes.tolist(), strict=True):
        one = found[code]
        result.append(None if one is None else one[0] * {"c": cpu, "n": max(1, node), "": 1}[one[1]])
    return pa.array(result, pa.int64())


def _request(text: str) -> tuple[int, str] | None:
    match = _SIZE.match(text)
    if match is None:
        return None
    size, of = round(float(match[1]) * _MB[match[2].upper()]), match[3].lower()
    if OLD_PER_CPU_MB <= size < 2 * OLD_PER_CPU_MB:
        return size - OLD_PER_CPU_MB, "c"
    return (size, of) if size else None
