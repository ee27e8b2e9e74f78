"""Jobs as one person may see and change them: the same for pages, REST and the command line."""

from backend.jobs.acting import (
    ACTIONS,
    ActionRefused,
    Asked,
    act,
    cancel,
    extend,
    hold,
    refusal,
    refusals,
    release,
    requeue,
)
from backend.jobs.files import Part, read_log, read_script
from backend.jobs.judging import Judged, judge
from backend.jobs.marking import Marking, marks_of, may_mark, read_marks, tag_jobs, write_note
from backend.jobs.record import Namesake, Record, look
from backend.jobs.seeing import JobNotFound, find, is_held, is_one_task, is_own, seen_by

__all__ = [
    "ACTIONS", "ActionRefused", "Asked", "JobNotFound", "Judged", "Marking", "Namesake", "Part", "Record", "act",
    "cancel", "extend", "find", "hold", "is_held", "is_one_task", "is_own", "judge", "look", "marks_of", "may_mark",
    "read_log", "read_marks", "read_script", "refusal", "refusals", "release", "requeue", "seen_by", "tag_jobs",
    "write_note",
]  # fmt: skip
