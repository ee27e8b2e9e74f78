"""Every job there ever was: found again by what it was, or by its number with all its attempts."""

from backend.accounting.history.attempts import attempts
from backend.accounting.history.question import (
    MOST_ROWS,
    SORTS,
    Cursor,
    HistoryPage,
    HistoryQuestion,
    JobKey,
    NotAsked,
    Range,
)
from backend.accounting.history.search import History

__all__ = [
    "MOST_ROWS", "SORTS", "Cursor", "History", "HistoryPage", "HistoryQuestion", "JobKey", "NotAsked", "Range",
    "attempts",
]  # fmt: skip
