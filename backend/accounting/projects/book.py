"""The projects as the file says now: a change is taken up without a restart."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from backend.accounting.projects.file import ProjectsUnusable, read_file
from backend.accounting.projects.model import Projects

log = logging.getLogger("carme.projects")

Seen = tuple[int, int, int] | None  # of the file: its number, size and time of change; None: it can't be looked at


class ProjectBook:
    """Blocking, used from any thread. At the start what makes no sense is refused; later the last good state stays."""

    def __init__(self, file: Path | None = None) -> None:
        """`file`: none, no projects are set up. Raises ProjectsUnusable."""
        self._file = file
        self._lock = threading.Lock()
        self._trouble = ""
        self._seen: Seen = None
        self._known = Projects()
        if file is not None:
            self._seen = _look(file)  # before it is read: a change in between is seen at the next look
            self._known = Projects(read_file(file), 1)

    def current(self) -> Projects:
        """As they are now; read anew only when the file has changed."""
        if self._file is None:
            return self._known
        seen = _look(self._file)
        with self._lock:
            if seen != self._seen:
                self._seen = seen
                self._read(self._file)
            return self._known

    @property
    def trouble(self) -> str:
        """Why the file can't be used since its last change; "" when it can."""
        self.current()
        return self._trouble

    def _read(self, file: Path) -> None:
        try:
            listed = read_file(file)
        except ProjectsUnusable as error:
            self._trouble = str(error)
            log.warning("the projects stay as they were: %s", error)
            return
        self._trouble = ""
        if listed != self._known.listed:
            self._known = Projects(listed, self._known.version + 1)
            log.info("%d projects are read from %s", len(listed), file)


def _look(file: Path) -> Seen:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
