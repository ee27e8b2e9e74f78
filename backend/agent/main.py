"""`agent.pyz run SESSION.JSON` on a job's first node, `agent.pyz stand-by [SESSION.JSON]` on its others.

`agent.pyz node` is the node service.

Exit status: 0 ended as it should, 1 no app runs, 2 can't run this.
"""

from __future__ import annotations

import os
import sys

from .heap import share_one_heap
from .log import log
from .step import ENDING

USAGE = "usage: agent.pyz run SESSION.JSON | stand-by [SESSION.JSON] | node --help"


def main(argv: list[str]) -> int:
    """The command line. What a command needs is loaded with it: memory on a node is the person's."""
    share_one_heap()
    command, rest = (argv[0] if argv else ""), argv[1:]
    if command == "stand-by" and len(rest) <= 1:
        from .standby import stand_by

        return stand_by(rest[0] if rest else None, os.environ)
    if command == "run" and len(rest) == 1:
        return _run(rest[0])
    if command == "node":
        from .node import command as node

        return node.main(rest)
    print(USAGE, file=sys.stderr)  # noqa: T201
    return 2


def _run(spec_path: str) -> int:
    import asyncio
    import signal
    from pathlib import Path

    from .heap import keep_freed_memory
    from .spec import SpecError
    from .supervisor import CannotRun, Session

    async def run() -> int:
        keep_freed_memory()
        status = await Session(Path(spec_path), os.environ).run()
        for number in ENDING:  # one that comes while Python shuts down must not change the exit status
            asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
        return status

    try:
        return asyncio.run(run())
    except (SpecError, CannotRun) as error:
        log(str(error))
        return 2
