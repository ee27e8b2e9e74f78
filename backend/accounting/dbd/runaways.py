"""Open rows whose job is gone: slurmdbd missed the end ("runaway jobs"), and would let them run for ever."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from backend.accounting.model import JOBS
from backend.accounting.rounds import Queue

SETTLE_S = 120  # a job is in slurmctld before slurmdbd, and in our picture of it a look later


def bounded(jobs: pa.Table, before: pa.Table, queue: Queue | None) -> tuple[pa.Table, list[int]]:
    """Open rows with `seen_s` kept where it was when the scheduler does not know the job; and these jobs' ids.

    `before`: the open rows of the round before. A row that was a runaway when first seen has no usage. Without a
    picture of the queue every row counts as running.
    """
    if queue is None or not jobs.num_rows:
        return jobs, []
    ids = jobs["job_id"].to_numpy()
    newest = np.maximum(pc.fill_null(jobs["start_s"], 0).to_numpy(), jobs["submit_s"].to_numpy())
    lost = ~np.isin(ids, np.fromiter(queue.job_ids, np.int64, len(queue.job_ids))) & (newest < queue.taken_s - SETTLE_S)
    # A folded array is known by its first task's number in the queue, by its own in the accounts.
    arrays = pc.fill_null(jobs["array_job_id"], 0).to_numpy()
    lost &= ~np.isin(arrays, np.fromiter(queue.job_ids, np.int64, len(queue.job_ids))) | (arrays == 0) | (
        pc.fill_null(jobs["start_s"], 0).to_numpy() > 0
    )
    if not lost.any():
        return jobs, []
    place = pc.index_in(jobs["db_inx"], value_set=before["db_inx"].combine_chunks()).combine_chunks()
    was = before["seen_s"].combine_chunks().take(place)
    stood = pc.coalesce(was, jobs["start_s"].combine_chunks(), jobs["submit_s"].combine_chunks())
    seen = pc.if_else(pa.array(lost), stood, jobs["seen_s"].combine_chunks())
    at = JOBS.get_field_index("seen_s")
    return jobs.set_column(at, JOBS.field(at), seen), sorted({int(number) for number in ids[lost]})
