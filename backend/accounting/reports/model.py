"""Reports and schedules as plain frozen facts, what may be asked of them, and how it can fail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Visibility = Literal["private", "account", "everyone"]
VISIBILITIES: tuple[Visibility, ...] = ("private", "account", "everyone")
WAYS = ("mail", "folder")
# How it is drawn where it is drawn: over time, as a ranking, not at all; "" as the question suggests.
CHARTS = ("", "time", "rank", "table")


class ReportError(Exception):
    """A report can't be had, kept or sent; the message is for the person."""


class ReportNotFound(ReportError):
    """There is none, or none the viewer may see: both look alike."""

    def __init__(self) -> None:
        super().__init__("There is no such report, or it is not shown to you.")


class ReportRefused(ReportError):
    """What is asked for is not possible or not allowed. `part`: the field to change."""

    def __init__(self, part: str, message: str) -> None:
        super().__init__(message)
        self.part = part


@dataclass(frozen=True)
class Draft:
    """A report as a person wants it."""

    name: str
    question: Mapping[str, Any]
    chart: str = ""
    visibility: str = "private"
    account: str = ""


@dataclass(frozen=True)
class ScheduleDraft:
    """When and where a report is to go. `addresses`: for "mail"; none means the owner's own."""

    every: str
    hour: int
    format: str
    way: str
    weekday: int = 0
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Schedule:
    id: str
    report_id: str
    every: str
    weekday: int
    hour: int
    format: str
    way: str
    addresses: tuple[str, ...]
    active: bool
    stopped: str  # why the console stopped it
    due_s: int  # the next occurrence, or the one that is being retried
    retry_s: int | None
    tries: int
    done_s: int | None
    error: str
    error_s: int | None
    words: str  # when, in words


@dataclass(frozen=True)
class Report:
    id: str
    owner: str
    name: str
    question: Mapping[str, Any]
    chart: str
    visibility: str
    account: str
    created_s: int
    changed_s: int
    deleted_s: int | None = None
    schedules: tuple[Schedule, ...] = field(default=())
