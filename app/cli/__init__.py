"""The command line: `carme COMMAND`. Works on the data folder, for its owner or root only.

Exit status: 0 done, 1 failed, 2 wrong use.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from app.cli.common import Failed, WrongUse, add_common

PROGRAM = "carme"


def build_parser() -> argparse.ArgumentParser:
    """All commands with their arguments."""
    from app.cli import agent, doctor, import_sacct, jobs, report, serve, session, sync, usage, user

    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="The browser console of a Slurm cluster.",
        epilog="CARME_DATA names the data folder, CARME_CONFIG the settings file.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (serve, doctor, session, jobs, sync, usage, report, import_sacct, user, agent):
        module.add_parser(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parser = build_parser()
    try:
        options = parser.parse_args(arguments)
    except SystemExit as stop:  # --help is 0, wrong use 2
        return stop.code if isinstance(stop.code, int) else 2
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except WrongUse as wrong:
        print(f"{PROGRAM}: {wrong}", file=sys.stderr)
        return 2
    except Failed as failed:
        print(f"{PROGRAM}: {failed}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 1
    except BrokenPipeError:  # `carme jobs list | head`
        sys.stderr.close()
        return 0
    return status


__all__ = ["add_common", "build_parser", "main"]
