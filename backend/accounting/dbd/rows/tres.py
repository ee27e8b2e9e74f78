"""TRES texts of slurmdbd, `1=8,2=32768,4=1,5=8,1001=2`, taken apart.

A column of a million rows holds a few thousand different texts once the energy, which differs for every job, is
out; each is taken apart once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

CPU, MEM, ENERGY, NODE, BILLING = 1, 2, 3, 4, 5
GPU = "gres/gpu"
# NO_CONSUME_VAL64, NO_VAL64 and INFINITE64 of slurm.h: no known value.
UNKNOWN_FROM = 0xFFFF_FFFF_FFFF_FFFD
_LARGEST = 2**62
_KEPT = 200_000  # texts remembered


@dataclass(frozen=True)
class Tres:
    """What one text says."""

    cpus: int = 0
    mem_mb: int | None = None
    nodes: int = 0
    billing: int = 0
    gpus: int = 0
    gpu_type: str | None = None  # the only one; "a100=2,h100=1" for several
    text: str = ""  # as sacct prints it, without the energy


def parse(text: str, names: Mapping[int, str]) -> Tres:
    """One text; what makes no sense in it is left out. `names`: id → "gres/gpu:a100"."""
    counts: dict[str, int] = {}
    for part in text.split(","):
        key, _, value = part.partition("=")
        if key.isdecimal() and value.isdecimal() and int(value) < _LARGEST and int(key) != ENERGY:
            counts[names.get(int(key), f"tres/{key}")] = int(value)
    typed = {name.removeprefix(f"{GPU}:"): count for name, count in counts.items() if name.startswith(f"{GPU}:")}
    several = ",".join(f"{kind}={count}" for kind, count in sorted(typed.items()) if count)
    kinds = [kind for kind, count in typed.items() if count]
    return Tres(
        cpus=counts.get("cpu", 0),
        mem_mb=counts.get("mem"),
        nodes=counts.get("node", 0),
        billing=counts.get("billing", 0),
        gpus=counts.get(GPU, sum(typed.values())),
        gpu_type=(kinds[0] if len(kinds) == 1 else several) or None if kinds else None,
        text=",".join(sorted(f"{name}={_amount(name, count)}" for name, count in counts.items())),
    )


def _amount(name: str, count: int) -> str:
    """Memory in the largest unit that is exact, as Slurm's commands print it."""
    if name not in ("mem", "vmem"):
        return str(count)
    units = "MGTPE"
    at = 0
    while count and count % 1024 == 0 and at < len(units) - 1:
        count //= 1024
        at += 1
    return f"{count}{units[at]}"


@dataclass(frozen=True)
class TresColumns:
    """A column of texts, taken apart; arrays of its length."""

    cpus: npt.NDArray[np.int64]
    mem_mb: pa.Array
    nodes: npt.NDArray[np.int64]
    billing: npt.NDArray[np.int64]
    gpus: npt.NDArray[np.int64]
    gpu_type: pa.DictionaryArray
    text: pa.DictionaryArray
    energy_j: pa.Array  # null when unknown
    empty: npt.NDArray[np.bool_]


class TresParser:
    """Takes columns apart, and remembers texts. Made anew when the site's TRES change."""

    def __init__(self, names: Mapping[int, str]) -> None:
        self.names = dict(names)
        self._known: dict[str, Tres] = {}

    def columns(self, texts: pa.Array) -> TresColumns:
        """`texts`: string, null or empty when nothing was allocated."""
        texts = pc.fill_null(texts, "")
        energy, rest = pa.nulls(len(texts), pa.string()), texts
        if pc.any(pc.match_substring(texts, "3=")).as_py():
            energy = pc.struct_field(pc.extract_regex(texts, r"(?:^|,)3=(?P<energy>[0-9]+)"), "energy")
            rest = pc.replace_substring_regex(texts, r"(^|,)3=[0-9]+", "")
        coded = rest.dictionary_encode()
        found = [self._parsed(text) for text in coded.dictionary.to_pylist()]
        codes = coded.indices.to_numpy()

        def numbers(name: str) -> npt.NDArray[np.int64]:
            return np.array([getattr(one, name) for one in found], np.int64)[codes]

        return TresColumns(
            cpus=numbers("cpus"),
            mem_mb=pa.array([one.mem_mb for one in found], pa.int64()).take(coded.indices),
            nodes=numbers("nodes"),
            billing=numbers("billing"),
            gpus=numbers("gpus"),
            gpu_type=_named([one.gpu_type for one in found], codes),
            text=_named([one.text for one in found], codes),
            energy_j=_energy(energy),
            empty=np.array([not one.text for one in found], bool)[codes],
        )

    def _parsed(self, text: str) -> Tres:
        known = self._known.get(text)
        if known is None:
            if len(self._known) >= _KEPT:
                self._known.clear()
            known = self._known[text] = parse(text, self.names)
        return known


def _energy(digits: pa.Array) -> pa.Array:
    """Joules; null when absent or one of Slurm's marks for an unknown value, the largest numbers of 64 bits."""
    sane = pc.and_kleene(pc.is_valid(digits), pc.less(pc.binary_length(digits), 19))
    return pc.if_else(sane, digits, None).cast(pa.int64())


def _named(names: list[str | None], codes: npt.NDArray[np.int64]) -> pa.DictionaryArray:
    """A dictionary column from a name for each code; names may repeat."""
    unique = {name: at for at, name in enumerate(dict.fromkeys(name for name in names if name is not None))}
    place = np.array([unique.get(name, -1) if name is not None else -1 for name in names] or [-1], np.int32)
    at = place[codes] if len(codes) else np.empty(0, np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(at, pa.int32(), mask=at < 0), pa.array(list(unique), pa.string()))
