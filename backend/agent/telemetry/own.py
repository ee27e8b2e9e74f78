"""Which GPUs are a job's own, as its own environment and processes tell.

For the job's own agent only: what a job says of itself decides what is recorded of itself, and no more. (The node
service, which tells several jobs apart, asks elsewhere: `backend.agent.node.allocation`.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..sampler import Gpu
from ..sampler.reading import natural

NUMBERS = ("SLURM_STEP_GPUS", "SLURM_JOB_GPUS")
"""Numbers of device files, not changed by a device cgroup. A step's come first: what it inherits of the job's are those
of the batch script's node."""
_SHORTEST_UUID = len("GPU-") + 4
_LONGEST = 8192
_MOST_WORDS = 1024
_DIGITS = 5
"""More than any node's list of devices, and little for whoever reads it: a person may write what they like there."""


def own_gpus(gpus: Sequence[Gpu], job: int, env: Mapping[str, str]) -> frozenset[str]:
    """Indices of the devices that belong to the job."""
    used = {gpu.index for gpu in gpus if any(process.job_id == job for process in gpu.processes or ())}
    visible = words(env.get("CUDA_VISIBLE_DEVICES", ""))
    uuids = [word for word in visible if word.startswith(("GPU-", "MIG-"))]
    if uuids:
        return frozenset(used | {gpu.index for gpu in gpus for word in uuids if _is_called(gpu, word)})
    for name in NUMBERS:
        numbers = words(env.get(name, ""))
        if numbers:
            return frozenset(used | {gpu.index for gpu in gpus if str(gpu.minor) in numbers})
    # without Slurm's word (the embedded default): CUDA's own numbers, in the order of the bus, which is NVML's
    return frozenset(used | {gpu.index for gpu in gpus if gpu.index.partition(":")[0] in visible})


def words(text: str) -> list[str]:
    """What a list names: `0,1`, `0-3`, `MIG-…,GPU-…`. Numbers as texts."""
    found: list[str] = []
    for part in text[:_LONGEST].split(","):
        first, last = (natural(word, _DIGITS) for word in part.strip().partition("-")[::2])
        if first is not None and last is not None:
            found += [str(number) for number in range(first, last + 1)[:_MOST_WORDS]]
        elif part.strip():
            found.append(part.strip())
        if len(found) > _MOST_WORDS:
            break
    return found[:_MOST_WORDS]


def numbers(text: str) -> frozenset[int]:
    """The numbers that a list names."""
    found = (natural(word, _DIGITS) for word in words(text))
    return frozenset(number for number in found if number is not None)


def _is_called(gpu: Gpu, word: str) -> bool:
    """CUDA takes the beginning of a uuid too, as long as it tells one from another."""
    return len(word) >= _SHORTEST_UUID and gpu.uuid.startswith(word)
