"""Where a sync with slurmdbd stands; kept in the warehouse with what it brought, so that both agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Cursor:
    """`key`, `upto`: of the first load, the job_db_inx done and the last one to do."""

    loaded: bool = False
    key: int = 0
    upto: int = 0
    since_s: int = 0  # rows that ended from here on are asked for again
    last_key: int = 0  # the largest job_db_inx seen
    compared_s: int = 0  # when ended rows were last read again
    month: str = ""  # the month last counted: they take turns
    rolled_up_s: int = 0  # slurmdbd's roll-up when the small tables were read
    small_s: int = 0  # when the small tables were read
    runaways: int = 0  # open rows of jobs that the scheduler does not know
    runaway_jobs: tuple[int, ...] = ()  # some of them

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Cursor:
        """From the warehouse's state."""
        known = {field.name for field in fields(cls)}
        values = {name: value for name, value in kept.items() if name in known}
        if "runaway_jobs" in values:
            values["runaway_jobs"] = tuple(values["runaway_jobs"])
        return cls(**values)

    def kept(self) -> dict[str, Any]:
        """For the warehouse's state."""
        return asdict(self)
