"""Where jobs can be: the files in which to look, as the manifest tells them apart, in stretches of time."""

# ruff: noqa: S608 - the text is put together from the words in this package only; what was asked goes as parameters
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from backend.accounting.history.question import Cursor, HistoryQuestion
from backend.accounting.warehouse import JobsFile, Reading

FIRST_ROWS = 250_000  # of the first files that are looked into
GROWTH = 4  # each next chunk has at most so many times the rows of the one before
OPEN = "SELECT *, NULL::VARCHAR AS filename FROM open_jobs"


@dataclass(frozen=True)
class Chunk:
    """Some of the rows: those still open, or those of some files, which all ended in [since_s, until_s)."""

    source: str  # SQL of `model.JOBS` and the path of the file
    since_s: int
    until_s: int
    open: bool = False


def month_s(name: str, later: int = 0) -> int:
    """The first second of the month `2026-11` (UTC), or of one so many months later."""
    year, month = (int(part) for part in name.split("-"))
    months = year * 12 + month - 1 + later
    return int(datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC).timestamp())


def source(reading: Reading, files: Iterable[JobsFile]) -> str:
    """SQL of these files' rows; of none, no rows."""
    files = list(files)
    if not files:
        return f"{OPEN} WHERE false"
    return reading.ended(files, ", filename")


def files_for(reading: Reading, question: HistoryQuestion) -> list[JobsFile]:
    """Those in which such a job can be, by what the manifest says of them."""
    found = [
        file
        for file in reading.files
        if (question.since_s is None or file.max_s >= question.since_s)
        and (question.until_s is None or month_s(file.month) < question.until_s)
        and (not question.clusters or file.cluster in question.clusters)
    ]
    return _with_numbers(reading, found, question.jobs) if question.jobs else found


def _with_numbers(reading: Reading, files: Sequence[JobsFile], numbers: Sequence[int]) -> list[JobsFile]:
    """Those with jobs of these numbers or with tasks of such arrays. Tasks have the array's number or a later one,
    and the array's submit time, which its last task tells: that one has the array's own number."""
    exact = [file for file in files if any(file.min_job_id <= number <= file.max_job_id for number in numbers)]
    listed = ", ".join(str(number) for number in numbers)
    rows = reading.con.execute(
        f"SELECT job_id, max(submit_s) FROM ({source(reading, exact)} UNION ALL {OPEN}) "
        f"WHERE job_id IN ({listed}) GROUP BY job_id"
    ).fetchall()
    known = dict(rows)
    return [
        file
        for file in files
        if any(
            file.max_job_id >= number and (number not in known or file.min_submit_s <= known[number])
            for number in numbers
        )
    ]


def chunks(
    reading: Reading, question: HistoryQuestion, now_s: int, cursor: Cursor | None, *, descending: bool
) -> Iterator[Chunk]:
    """The rows in stretches of their end, in the order that is asked for; all at once where that is another."""
    files = files_for(reading, question)
    by_month: dict[str, list[JobsFile]] = {}
    for file in files:
        by_month.setdefault(file.month, []).append(file)
    months = sorted(by_month, reverse=descending)
    with_open = question.until_s is None
    if question.sort != "end_s":
        since_s = month_s(min(months)) if months else now_s
        yield Chunk(source(reading, files) + (f" UNION ALL {OPEN}" if with_open else ""), since_s, now_s + 1)
        return
    if cursor is not None:
        months = [
            name
            for name in months
            if (month_s(name) <= cursor.at if descending else month_s(name, later=1) > cursor.at)
        ]  # fmt: skip
    still = Chunk(OPEN, now_s, now_s + 1, open=True)
    if with_open and descending:
        yield still
    room = FIRST_ROWS
    while months:
        taken: list[str] = []
        rows = 0
        while months and (not taken or rows + sum(file.rows for file in by_month[months[0]]) <= room):
            taken.append(months.pop(0))
            rows += sum(file.rows for file in by_month[taken[-1]])
        text = source(reading, (file for name in taken for file in by_month[name]))
        yield Chunk(text, month_s(min(taken)), month_s(max(taken), later=1))
        room *= GROWTH
    if with_open and not descending:
        yield still
