"""`agent.pyz run SESSION.JSON` on a job's first node, `agent.pyz stand-by` on its others.

Exit status: 0 ended as it should, 1 no app runs, 2 can't run this.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from .heap import keep_freed_memory
from .process import log
from .spec import SpecError
from .supervisor import ENDING, CannotRun, Session


def main(argv: list[str]) -> int:
    """The command line."""
    if argv == ["stand-by"]:
        return _stand_by()
    if len(argv) != 2 or argv[0] != "run":
        print("usage: agent.pyz run SESSION.JSON | stand-by", file=sys.stderr)  # noqa: T201
        return 2
    try:
        return asyncio.run(_run(Path(argv[1])))
    except (SpecError, CannotRun) as error:
        log(str(error))
        return 2


async def _run(spec_path: Path) -> int:
    keep_freed_memory()
    status = await Session(spec_path, os.environ).run()
    for number in ENDING:  # one that comes while Python shuts down must not change the exit status
        asyncio.get_running_loop().remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)
    return status


def _stand_by() -> int:
    """Keep the node's step open until the job ends."""
    awaited = set(ENDING)
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    signal.sigwait(awaited)
    return 0
