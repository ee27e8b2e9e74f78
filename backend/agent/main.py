"""`agent.pyz run SESSION.JSON`: exit status 0 ended as it should, 1 no app runs, 2 can't run this."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from .process import log
from .spec import SpecError
from .supervisor import ENDING, CannotRun, Session


def main(argv: list[str]) -> int:
    """Run a session on its first node; on its other nodes keep the step open and do nothing yet."""
    if len(argv) != 2 or argv[0] != "run":
        print("usage: agent.pyz run SESSION.JSON", file=sys.stderr)  # noqa: T201
        return 2
    try:
        if os.environ.get("SLURM_NODEID", "0") != "0":
            return _stand_by()
        return asyncio.run(_run(Path(argv[1])))
    except (SpecError, CannotRun) as error:
        log(str(error))
        return 2


async def _run(spec_path: Path) -> int:
    status = await Session(spec_path, os.environ).run()
    for number in ENDING:  # one that comes while Python shuts down must not change the exit status
        asyncio.get_running_loop().remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)
    return status


def _stand_by() -> int:
    """Wait for the end: srun ends this task when the first node's ends."""
    awaited = set(ENDING)
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    signal.sigwait(awaited)
    return 0
