"""A report on its way: made as a file, then mailed or put into the site's folder."""

from __future__ import annotations

import logging
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path

from backend.accounting.exports import FORMATS, Sheet, file_name, when, write
from backend.accounting.reports.model import Report, ReportError, Schedule
from backend.accounting.usage import CATALOGUE
from backend.identity import Viewer
from backend.notices import Attachment
from backend.notices.mail import MOST_ATTACHED_BYTES

log = logging.getLogger("carme.reports")

FILE_MODE = 0o640
FOLDER_MODE = 0o750


class NotDelivered(ReportError):
    """The file could not be put where it belongs; the message says why."""


@dataclass(frozen=True)
class Made:
    """A report's file, and what to say of it."""

    name: str
    path: Path
    sheet: Sheet

    @property
    def size_bytes(self) -> int:
        return self.path.stat().st_size


def make(sheet: Sheet, kind: str, folder: Path) -> Made:
    """Write the file into `folder`, where it stays until it is delivered or removed."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder, prefix="report-")
    path = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            write(sheet, kind, file, scratch=folder)
    except BaseException:
        path.unlink()
        raise
    return Made(file_name(sheet.title, kind, dated=dated(sheet)), path, sheet)


def sweep(folder: Path, before_s: int) -> None:
    """Remove temporary files last written before then: they hold people's usage, and whoever made them was killed."""
    try:
        for path in sorted(folder.rglob("*"), reverse=True):
            if path.lstat().st_mtime >= before_s:
                continue
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink(missing_ok=True)
    except FileNotFoundError:
        return  # none was ever made, or somebody else removes them, too
    except OSError as error:
        log.warning("old files in %s can't be removed: %s", folder, error)


def dated(sheet: Sheet) -> str:
    """The window's first and last day."""
    if sheet.since_s is None or sheet.until_s is None:
        return ""
    first, last = (when(at_s, sheet.zone)[:10] for at_s in (sheet.since_s, sheet.until_s - 1))
    return first if first == last else f"{first}-to-{last}"


def put(made: Made, report: Report, folder: Path) -> Path:
    """Into `folder`/OWNER, under a name of the report, its id and its window: the same again replaces the file.

    It is there as a whole or not at all, readable by the group. Raises NotDelivered.
    """
    target = folder / file_name(report.owner, "").rstrip(".")
    stem, ending = made.name.rsplit(".", 1)
    path = target / f"{stem}-{report.id}.{ending}"
    beside = target / f".{secrets.token_hex(8)}.part"
    try:
        target.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, FILE_MODE)
        try:
            with os.fdopen(handle, "wb") as file, made.path.open("rb") as source:
                os.fchmod(file.fileno(), FILE_MODE)
                while chunk := source.read(1 << 20):
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise NotDelivered(f"The file can't be put into {target}: {error.strerror or error}.") from error
    return path


@dataclass(frozen=True)
class Letter:
    to: tuple[str, ...]
    subject: str
    text: str
    attachments: tuple[Attachment, ...]


def letter(made: Made, report: Report, schedule: Schedule, owner: Viewer, console: tuple[str, str]) -> Letter:
    """`console`: its name and its address. Raises NotDelivered when nobody is to have it."""
    name, url = console
    to = schedule.addresses or ((owner.mail,) if owner.mail else ())
    if not to:
        raise NotDelivered("The owner's mail address is not known.")
    attached = made.size_bytes <= MOST_ATTACHED_BYTES
    lines = [report.name, "", made.sheet.question, *_window(made.sheet), f"Whose jobs: {made.sheet.scope}", ""]
    lines += [f"{CATALOGUE.metric(metric).title}: {_amount(value)}" for metric, value in made.sheet.totals.items()]
    lines += ["", *made.sheet.notes] if made.sheet.notes else []
    if attached:
        lines += ["", f"The figures are in the attached file {made.name}."]
    else:
        lines += ["", f"The file has {made.size_bytes / 2**20:.0f} MB, too much for a mail: fetch it in the console."]
    lines += [
        f"{url}/reports?report={report.id}", "",
        f"{schedule.words}, for {owner.display_name or owner.name}, from {name}. "
        "The report's owner can change or stop it there.",
    ]  # fmt: skip
    content = (Attachment(made.name, FORMATS[schedule.format].media_type, made.path.read_bytes()),) if attached else ()
    return Letter(to, f"{name}: {report.name}", "\n".join(lines), content)


def _window(sheet: Sheet) -> list[str]:
    return [f"{label}: {words}" for label, words in sheet.facts() if label in ("From", "Until (excluded)", "Time zone")]


def _amount(value: float | int | None) -> str:
    if value is None:
        return "unknown"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"
