"""Which GPU is whose. Where two sources disagree, or two jobs have a claim, it is nobody's, and it is said why.

A job can write what it likes into its own environment. So what it says there only counts where nobody else has a claim
on the same device and no process of another job runs on it: a job can't take another's GPU, nor what it did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..sampler import Gpu
from .allocation import Claim


class Attribution(NamedTuple):
    """Indices of each job's devices; and why others that are in use are nobody's, by index."""

    gpus_of: Mapping[int, frozenset[str]] = {}
    why: Mapping[str, str] = {}


def attribute(gpus: Sequence[Gpu], claims: Mapping[int, Claim]) -> Attribution:
    """Decide for each device."""
    owner: dict[str, int] = {}
    why: dict[str, str] = {}
    divided = {gpu.parent for gpu in gpus if gpu.parent is not None}
    places = _in_slurms_order(gpus)
    for gpu in gpus:
        if gpu.uuid in divided:
            continue
        sure = {job for job, claim in claims.items() if claim.certain and _claims(claim, gpu, places, len(divided) > 0)}
        said = {job for job, claim in claims.items() if not claim.certain and _claims(claim, gpu, places, False)}
        users = {process.job_id for process in gpu.processes or () if process.job_id in claims}
        job, reason = _decide(sure, said, {user for user in users if user is not None})
        if job is not None:
            owner[gpu.index] = job
        elif reason:
            why[gpu.index] = reason
    for gpu in gpus:
        if gpu.uuid in divided:  # the whole of a divided GPU is a job's where all its parts are
            parts = {owner.get(part.index) for part in gpus if part.parent == gpu.uuid}
            if len(parts) == 1 and (job := parts.pop()) is not None:
                owner[gpu.index] = job
            else:
                why[gpu.index] = "it is divided (MIG), and its instances are not all of one job"
    by_job: dict[int, set[str]] = {}
    for index, job in owner.items():
        by_job.setdefault(job, set()).add(index)
    return Attribution({job: frozenset(found) for job, found in by_job.items()}, why)


def _decide(sure: set[int], said: set[int], users: set[int]) -> tuple[int | None, str]:
    """The job a device belongs to, or none and why ("" when nobody has to do with it)."""
    if len(users) > 1:
        return None, f"processes of several jobs run on it: {_listed(users)}"
    if sure and users - sure:
        return None, f"Slurm gave it to job {_listed(sure)}, a process of job {_listed(users)} runs on it"
    if len(sure) > 1 and not users:
        return None, f"Slurm gave it to several jobs: {_listed(sure)}"
    if not users and not sure and len(said) > 1:
        return None, f"several jobs name it in their environment: {_listed(said)}"
    known = users or sure or said  # a process is a fact, whatever anybody says
    return next(iter(known), None), ""


def _claims(claim: Claim, gpu: Gpu, places: Mapping[str, int], divided: bool) -> bool:
    if gpu.parent is not None:
        # Slurm says how many instances it gave, the environment which: both must agree
        named = any(gpu.uuid == uuid for uuid in claim.uuids)
        return named and (not claim.certain or len(claim.uuids) == len(claim.places))
    if divided and claim.certain and claim.places:
        return False  # places in the list of a node with MIG instances can't be told from here
    return places.get(gpu.index) in claim.places or (gpu.minor is not None and gpu.minor in claim.numbers)


def _in_slurms_order(gpus: Sequence[Gpu]) -> Mapping[str, int]:
    """Slurm counts the node's GPUs in the order of their device files."""
    whole = sorted(
        (gpu for gpu in gpus if gpu.parent is None), key=lambda gpu: int(gpu.index) if gpu.minor is None else gpu.minor
    )
    return {gpu.index: place for place, gpu in enumerate(whole)}


def _listed(jobs: set[int]) -> str:
    return ", ".join(str(job) for job in sorted(jobs))
