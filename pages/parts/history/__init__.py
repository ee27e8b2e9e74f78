"""The history of jobs as the Jobs page shows it: rows, what the jobs used, tags, notes, saved filters."""

from pages.parts.history.actions import ACTIONS

__all__ = ["ACTIONS"]
