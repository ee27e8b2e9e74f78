"""Saved reports: questions that are kept, run again with their reader's rights, and sent at their hours."""

from backend.accounting.reports.members import Members
from backend.accounting.reports.model import (
    CHARTS,
    VISIBILITIES,
    WAYS,
    Draft,
    Report,
    ReportError,
    ReportNotFound,
    ReportRefused,
    Schedule,
    ScheduleDraft,
)
from backend.accounting.reports.process import open_runner
from backend.accounting.reports.question import read_saved, resolve, scope_for, window_words
from backend.accounting.reports.runner import ReportRunner
from backend.accounting.reports.saved import Reports
from backend.accounting.reports.times import WEEKDAYS
from backend.accounting.reports.windows import NAMES as WINDOWS

__all__ = [
    "CHARTS",
    "VISIBILITIES",
    "WAYS",
    "WEEKDAYS",
    "WINDOWS",
    "Draft",
    "Members",
    "Report",
    "ReportError",
    "ReportNotFound",
    "ReportRefused",
    "ReportRunner",
    "Reports",
    "Schedule",
    "ScheduleDraft",
    "open_runner",
    "read_saved",
    "resolve",
    "scope_for",
    "window_words",
]
