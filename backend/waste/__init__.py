"""What GPUs stand idle: hours by whom, jobs that do nothing now, and telling their people."""

from backend.waste.figures import DIMENSIONS, BadWaste, Figures, Group, Hours, Waste
from backend.waste.idle import LEAST_MINUTES, MOST_MINUTES, IdleJob, idle_now
from backend.waste.notices import Draft, IdleNotices, NoticeRefused, Sender
from backend.waste.windows import FIRST, WINDOWS, window

__all__ = [
    "DIMENSIONS", "FIRST", "LEAST_MINUTES", "MOST_MINUTES", "WINDOWS", "BadWaste", "Draft", "Figures", "Group", "Hours",
    "IdleJob", "IdleNotices", "NoticeRefused", "Sender", "Waste", "idle_now", "window",
]  # fmt: skip
