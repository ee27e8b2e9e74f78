"""sacct's job ids: `123`, `123_4` of an array, `123_[5-9%2]` for its tasks that wait, `123+1` of a het job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from backend.cluster.slurm import count_tasks

_FORM = r"^(?P<id>[0-9]{1,10})(?:_(?:(?P<task>[0-9]{1,9})|\[(?P<tasks>[^\]]*)\]?)|\+(?P<offset>[0-9]{1,9}))?$"
_MOST_ID = (1 << 32) - 1


@dataclass(frozen=True)
class JobIds:
    """`columns`: those of JOBS that the ids tell. `wrong`: which lines, and why."""

    columns: dict[str, Any]
    pending: npt.NDArray[np.int64]  # tasks that a line stands for while it waits
    wrong: tuple[tuple[npt.NDArray[np.bool_], str], ...]


def job_ids(shown: pa.ChunkedArray | None, raw: pa.ChunkedArray | None) -> JobIds:
    """`shown`: JobID; `raw`: JobIDRaw. One of them must be there.

    Tasks of an array and parts of a het job have ids of their own, which only JobIDRaw says.
    """
    texts = (raw if shown is None else shown).combine_chunks()  # type: ignore[union-attr]
    parts = pc.extract_regex(texts, _FORM)
    field = {name: pc.struct_field(parts, name) for name in ("id", "task", "tasks", "offset")}
    understood = pc.is_valid(parts).to_numpy(zero_copy_only=False)
    first = _number(field["id"])
    task, offset = _number(field["task"]), _number(field["offset"])
    several = pc.and_(pc.is_valid(field["tasks"]), pc.not_equal(pc.fill_null(field["tasks"], ""), ""))
    several = pc.fill_null(several, False)
    of_array = pc.or_(pc.is_valid(task), several)
    of_het = pc.is_valid(offset)
    wrong = [(~understood, "JobID: no job id")]
    if raw is None:
        ids = first
        partial = pc.or_(pc.and_(of_array, pc.is_valid(task)), pc.greater(pc.fill_null(offset, 0), 0))
        wrong.append((partial.to_numpy(zero_copy_only=False), "JobID: of an array or het job: JobIDRaw is needed too"))
    else:
        found = pc.struct_field(pc.extract_regex(raw.combine_chunks(), r"^(?P<id>[0-9]{1,10})$"), "id")
        ids = _number(found)
        # An array's tasks that wait are one line, and JobIDRaw of some releases repeats the brackets.
        ids = pc.if_else(pc.and_(pc.is_null(ids), several), first, ids)
    lost = pc.or_(pc.is_null(ids), pc.greater(pc.fill_null(ids, 0), _MOST_ID)).to_numpy(zero_copy_only=False)
    wrong.append((lost, "JobIDRaw: no job id"))
    ids = pc.if_else(pa.array(lost), 0, ids)
    pending = np.zeros(len(texts), np.int64)
    if pc.any(several).as_py():
        pending[:] = [count_tasks(text) if text else 0 for text in field["tasks"].to_pylist()]
    return JobIds(
        columns={
            "job_id": ids,
            "array_job_id": pc.if_else(of_array, first, None),
            "array_task_id": task,
            "het_job_id": pc.if_else(of_het, first, None),
            "het_offset": offset,
        },
        pending=pending,
        wrong=tuple(wrong),
    )


def _number(texts: pa.Array) -> pa.Array:
    """Digits as numbers; "" (a group that is not there) is null."""
    return pc.if_else(pc.equal(texts, ""), None, texts).cast(pa.int64())
