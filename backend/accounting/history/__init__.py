"""Every job there ever was: found again by what it was, or by its number with all its attempts."""

from backend.accounting.history.attempts import attempts
from backend.accounting.history.filters import Filter, FilterNotFound, FilterRefused, SavedFilters
from backend.accounting.history.marks import JobMarks, MarkRefused, Marks, Span, span_of
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
from backend.accounting.history.words import WINDOWS, WORDS, Wanted, of_query, read_words, tag_of

__all__ = [
    "MOST_ROWS", "SORTS", "WINDOWS", "WORDS", "Cursor", "Filter", "FilterNotFound", "FilterRefused", "History",
    "HistoryPage", "HistoryQuestion", "JobKey", "JobMarks", "MarkRefused", "Marks", "NotAsked", "Range",
    "SavedFilters", "Span", "Wanted", "attempts", "of_query", "read_words", "span_of", "tag_of",
]  # fmt: skip
