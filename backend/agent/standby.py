"""On a session's further nodes: look on, send what was seen, and wait for the job's end.

The step's end would not harm the session, but nothing here ends it: what fails is said, and waited out.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path

from .log import log
from .spec import SpecError, read_spec
from .step import ENDING, node_name
from .telemetry.of_session import session_watch, touch

LAST_WORD_S = 2.0


def stand_by(session_file: str | None, env: Mapping[str, str]) -> int:
    """Keep the node's step open until the job ends."""
    awaited = set(ENDING)
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)  # before any thread is started: they inherit it
    watch = None
    if session_file is not None:
        spec_path = Path(session_file)
        try:
            spec = read_spec(spec_path)
        except SpecError as error:
            log(f"no telemetry from {node_name(env)}: {error}")
        else:
            mark = spec_path.parent / f"busy-{node_name(env)}"
            watch = session_watch(spec, env, log, lambda: touch(mark))
    if watch is not None:
        watch.start()
    signal.sigwait(awaited)
    if watch is not None:
        watch.end(LAST_WORD_S)
    return 0
