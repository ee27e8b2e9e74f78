"""Where a command's file goes: standard output, or a file that is there whole or not at all."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from app.cli.common import Failed, WrongUse
from backend.accounting.exports import Sheet, write

FILE_FORMATS = ("csv", "json", "parquet", "xlsx", "pdf")
BINARY = frozenset({"parquet", "xlsx", "pdf"})


@contextmanager
def destination(options: argparse.Namespace) -> Iterator[BinaryIO | None]:
    """A stream for `options.format`; None where a table is to be printed. A file appears when all went well.

    To be entered before the data folder's owner is acted for: the file is the caller's own. Raises Failed, WrongUse.
    """
    if options.format == "table":
        if options.output:
            raise WrongUse(f"-o needs a --format: {', '.join(FILE_FORMATS)}")
        yield None
        return
    if not options.output:
        if options.format in BINARY and sys.stdout.isatty():
            raise WrongUse(f"{options.format} is not for a terminal: name a file with -o")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(options.output)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        stream = part.open("xb")
    except OSError as error:
        raise Failed(f"{path} can't be written: {error.strerror}") from error
    try:
        with stream:
            yield stream
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_sheet(sheet: Sheet, format_name: str, stream: BinaryIO) -> None:
    """Raises Failed when there is no room for it, BrokenPipeError when nobody reads."""
    try:
        write(sheet, format_name, stream)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Failed(f"the figures can't be written: {error.strerror}") from error
