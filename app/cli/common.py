"""What the commands share: settings, the data folder's owner, tables and JSON on standard output."""

from __future__ import annotations

import argparse
import json
import os
import pwd
import re
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from config import Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backend.services import Services

_DURATION = re.compile(r"(?a)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")

SERVE_OVERRIDES = "serve.json"


class Failed(Exception):
    """The command could not do what was asked: exit status 1. The message says what to do."""


class WrongUse(Exception):
    """The command was not given what it needs: exit status 2."""


def add_common(parser: argparse.ArgumentParser, *, json_output: bool = False) -> None:
    """The options every command has."""
    parser.add_argument("--config", metavar="FILE", type=Path, help="the settings file ($CARME_CONFIG)")
    if json_output:
        parser.add_argument("--json", action="store_true", help="print JSON")


def settings_of(options: argparse.Namespace, overrides: Mapping[str, Any] | None = None) -> Settings:
    """The settings this command line names. Raises Failed with the file, the key and what is allowed.

    Without `overrides`, those of the running console's command line count: sessions that another command
    launches must find it at the address it really has.
    """
    try:
        settings = load_settings(options.config, os.environ, overrides)
        if overrides is None and (said := _said_to_serve(settings.instance.data_dir)):
            settings = load_settings(options.config, os.environ, said)
        return settings
    except SettingsError as error:
        raise Failed(str(error)) from error


def remember_overrides(data_dir: Path, overrides: Mapping[str, Any]) -> None:
    """Keep what `carme serve` was told over its settings, for the commands that work beside it."""
    path = data_dir / SERVE_OVERRIDES
    path.unlink(missing_ok=True)
    if overrides:
        path.touch(mode=0o600)
        path.write_text(json.dumps(overrides))


def _said_to_serve(data_dir: Path) -> dict[str, Any]:
    try:
        said: dict[str, Any] = json.loads((data_dir / SERVE_OVERRIDES).read_text())
    except FileNotFoundError:
        return {}
    except PermissionError:  # another's data folder: the command will say so
        return {}
    return said


def check_owner(data_dir: Path) -> None:
    """Refuse anybody but the data folder's owner and root. Raises Failed."""
    try:
        owner = data_dir.stat().st_uid
    except FileNotFoundError:
        return
    except OSError as error:
        raise Failed(f"the data folder {data_dir} can't be looked at: {error.strerror}") from error
    if os.geteuid() not in (0, owner):
        name = _name(owner)
        raise Failed(f"the data folder {data_dir} belongs to {name}: run this as {name} or root")


@contextmanager
def as_owner(data_dir: Path) -> Iterator[None]:
    """Root works as the data folder's owner, so that no file of root's is left in it."""
    if os.geteuid() != 0 or not data_dir.exists():
        yield
        return
    found = data_dir.stat()
    if found.st_uid == 0:
        yield
        return
    os.setegid(found.st_gid)
    os.seteuid(found.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@contextmanager
def opened(options: argparse.Namespace) -> Iterator[Services]:
    """The instance's services, for its owner or root. Raises Failed."""
    settings = settings_of(options)
    data_dir = settings.instance.data_dir
    check_owner(data_dir)
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Failed(f"the data folder {data_dir} can't be made: {error.strerror}") from error
    from backend.services import open_services
    from backend.starting import CantStart
    from backend.store import DatabaseUnusable, KeyUnusable, UpgradeBlocked

    with as_owner(data_dir):
        try:
            services = open_services(settings)
        except (DatabaseUnusable, KeyUnusable, UpgradeBlocked) as error:
            raise Failed(f"{error} (carme doctor says more)") from error
        except CantStart as error:  # the site's rules or projects
            raise Failed(str(error)) from error
        try:
            yield services
        finally:
            services.identity.close()
            services.db.close()


def actor() -> str:
    """Who runs this command, for the audit: the login name behind sudo too."""
    name = os.environ.get("SUDO_USER") if os.getuid() == 0 else None
    return f"cli:{name or _name(os.getuid())}"


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def print_table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as they need to be. What comes from people or Slurm can't move the cursor."""
    texts = [[plain(value) for value in row] for row in rows]
    widths = [max([len(title), *(len(row[at]) for row in texts)]) for at, title in enumerate(titles)]
    for row in [list(titles), *texts]:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def plain(value: object) -> str:
    """A value as one line of printable text."""
    text = "" if value is None else str(value)
    return "".join("?" if unicodedata.category(char).startswith("C") else char for char in text)


def when(time_s: int | None, zone: str) -> str:
    """A time in the instance's zone, "" for none."""
    if time_s is None:
        return ""
    return datetime.fromtimestamp(time_s, ZoneInfo(zone)).isoformat(sep=" ", timespec="seconds")


def duration_s(text: str) -> int:
    """Seconds from `30m`, `1h30m`, `2d` or Slurm's `1-02:03:04`, `02:03:04`, `90` (minutes). For argparse."""
    from_units = _DURATION.fullmatch(text)
    if text and from_units:
        days, hours, minutes, seconds = (int(part or 0) for part in from_units.groups())
        return _positive(days * 86400 + hours * 3600 + minutes * 60 + seconds, text)
    slurm = re.fullmatch(r"(?a)(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    if slurm is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: 30m, 1h30m, 2d or 1-02:03:04")
    day, first, second, third = slurm.groups()
    numbers = [int(part) for part in (first, second, third) if part is not None]
    if day is not None:  # days-hours[:minutes[:seconds]]
        units = [3600, 60, 1]
        total = int(day) * 86400
    else:  # minutes, minutes:seconds, hours:minutes:seconds
        units = {1: [60], 2: [60, 1], 3: [3600, 60, 1]}[len(numbers)]
        total = 0
    return _positive(total + sum(n * unit for n, unit in zip(numbers, units, strict=False)), text)


def gpus(text: str) -> tuple[str, int]:
    """`a100:1` or `2` as (type or "", count). For argparse."""
    kind, _, count = text.rpartition(":")
    if not count.isdecimal() or not re.fullmatch(r"[A-Za-z0-9_.-]*", kind):
        raise argparse.ArgumentTypeError(f"{text!r}: TYPE:COUNT or COUNT is wanted, such as a100:1")
    return kind, int(count)


def _positive(total_s: int, text: str) -> int:
    if total_s <= 0:
        raise argparse.ArgumentTypeError(f"{text!r}: more than no time is wanted")
    return total_s


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
