"""Tags and notes as one person may write and read them. What nobody may see can't be written on either."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.accounting.history import JobKey, MarkRefused, Marks, Span, span_of, tag_of
from backend.accounting.rights import scope_of
from backend.cluster.views import job as live_row
from backend.identity import Viewer, policy
from backend.jobs.seeing import JobNotFound
from backend.services import Services

MOST_AT_ONCE = 200
NO_MARKS = Marks()


@dataclass(frozen=True)
class Marking:
    """What became of one job of several. `problem`: why nothing did, "" where it was done."""

    key: JobKey
    marks: Marks = NO_MARKS
    problem: str = ""


def may_mark(viewer: Viewer, row: Mapping[str, Any]) -> bool:
    """Whether the viewer may write on this job."""
    return policy.allowed(viewer, "job.mark", row)


def marks_of(services: Services, rows: Sequence[Mapping[str, Any]], cluster: str | None = None) -> list[Marks]:
    """The marks of each of these rows, which the viewer sees. `cluster`: of rows of the queue."""
    spans = [span_of(row, cluster) for row in rows]
    found = services.marks.of(spans)
    return [found.get(span, Marks()) for span in spans]


def read_marks(services: Services, viewer: Viewer, key: JobKey) -> Marks:
    """Raises JobNotFound, the same for none and for one that is not theirs to see."""
    span, _ = _one(services, viewer, key)
    return services.marks.of([span]).get(span, Marks())


def tag_jobs(
    services: Services,
    viewer: Viewer,
    keys: Sequence[JobKey],
    *,
    add: Iterable[str] = (),
    remove: Iterable[str] = (),
    address: str = "",
) -> list[Marking]:
    """Tag some jobs, each for itself: what is refused of one is done of the others. Blocks.

    Raises NotAsked where a text is no tag, MarkRefused where there are too many jobs.
    """
    if len(keys) > MOST_AT_ONCE:
        raise MarkRefused("jobs", f"At most {MOST_AT_ONCE} jobs at once.")
    add, remove = [tag_of(text) for text in add], [tag_of(text) for text in remove]
    seen = _seen(services, viewer, keys)
    found = []
    for key in keys:
        if key not in seen:
            found.append(Marking(key, problem=f"There is no job {key.job_id}, or it is not yours to see."))
            continue
        span, row = seen[key]
        if not may_mark(viewer, row):
            found.append(Marking(key, problem="Only its owner and operators tag it."))
            continue
        try:
            found.append(Marking(key, services.marks.tag(viewer.name, span, add=add, remove=remove, address=address)))
        except MarkRefused as refused:
            found.append(Marking(key, problem=str(refused)))
    return found


def write_note(services: Services, viewer: Viewer, key: JobKey, text: str, address: str = "") -> Marks:
    """Raises JobNotFound, MarkRefused."""
    span, row = _one(services, viewer, key)
    if not may_mark(viewer, row):
        raise MarkRefused("job", "Only its owner and operators write on it.")
    return services.marks.note(viewer.name, span, text, address)


def _one(services: Services, viewer: Viewer, key: JobKey) -> tuple[Span, Mapping[str, Any]]:
    found = _seen(services, viewer, [key]).get(key)
    if found is None:
        raise JobNotFound
    return found


def _seen(
    services: Services, viewer: Viewer, keys: Sequence[JobKey]
) -> dict[JobKey, tuple[Span, Mapping[str, Any]]]:  # fmt: skip
    """Those that are there and that the viewer may see: in the accounts, or only in the queue yet."""
    found: dict[JobKey, tuple[Span, Mapping[str, Any]]] = {}
    for row in services.history.rows(keys, scope_of(viewer)).to_pylist():
        span = span_of(row)
        for key in keys:
            same = (key.cluster, key.job_id) == (span.cluster, span.job_id)
            if same and span.first_s <= key.origin_s <= span.last_s:
                found[key] = (span, row)
    snapshot = services.snapshots.current
    for key in keys:
        if key in found or key.cluster != snapshot.cluster:
            continue
        row = live_row(snapshot.jobs.table, key.job_id)
        if row is not None and row["submit_s"] == key.origin_s and policy.allowed(viewer, "job.see", row):
            found[key] = (span_of(row, snapshot.cluster), row)
    return found
