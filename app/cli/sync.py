"""`carme sync`: bring the accounts up to date now, or read all of them again."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from typing import Any

from app.cli.common import Failed, actor, add_common, opened, print_json, print_table, when

SHOW_EVERY_S = 1.0


def add_parser(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "sync",
        help="bring the accounts up to date now",
        description="Bring the accounts up to date now. The console does so by itself every accounting.sync_every_s; "
        "this is for the first time, and to see what goes wrong. It can be stopped at any time, and goes on from "
        "there the next time.",
    )
    parser.add_argument(
        "--rebuild",
        action="store_true",
        help="read everything again from its source and make the roll-ups anew; what the source has purged is kept",
    )
    add_common(parser, json_output=True)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """One round over all clusters; 1 when one of them failed."""
    from backend.accounting.sync import NothingToSync, SyncBusy, sync_once, warehouse_folder
    from backend.accounting.warehouse import Warehouse, WarehouseUnusable
    from backend.store import audit

    stop = threading.Event()
    with opened(options) as services:
        settings = services.settings
        before = signal.signal(signal.SIGTERM, lambda *_: stop.set())
        try:
            errors = sync_once(
                settings, services.db, rebuild=options.rebuild, stop=stop, progress=_Progress(show=sys.stderr.isatty())
            )
            warehouse = Warehouse(warehouse_folder(settings), settings.accounting.memory_mb)
            warehouse.refresh()
        except (NothingToSync, WarehouseUnusable) as error:
            raise Failed(str(error)) from error
        except SyncBusy as error:
            raise Failed(f"{error} It does so every {settings.accounting.sync_every_s} s; try again.") from error
        finally:
            signal.signal(signal.SIGTERM, before)
        if options.rebuild:
            with services.db.begin() as rows:
                audit(
                    rows, actor(), "accounting.rebuild", settings.accounting.source, "failed" if errors else "done",
                    clusters=sorted(warehouse.state.clusters), failed=sorted(errors),
                )  # fmt: skip
        states = warehouse.state.clusters
        warehouse.close()
        zone = settings.instance.time_zone
    if options.json:
        print_json(
            [
                {
                    "cluster": name, "source": state.source, "synced_s": state.synced_s, "rows": state.rows,
                    "open_rows": state.open_rows, "oldest_s": state.oldest_s,
                    "purged_before_s": state.purged_before_s, "runaways": state.cursor.get("runaways", 0),
                    "error": errors.get(name, state.error),
                }
                for name, state in states.items()
            ]
        )  # fmt: skip
    else:
        print_table(
            ["cluster", "source", "jobs ended", "not ended", "since", "complete until"],
            [
                [name, one.source, one.rows, one.open_rows, when(one.oldest_s, zone), when(one.synced_s, zone)]
                for name, one in states.items()
            ],
        )
    for name, words in errors.items():
        print(f"{name or settings.accounting.source}: {words}", file=sys.stderr)
    return 1 if errors else 0


class _Progress:
    """How far a first load is, on a terminal."""

    def __init__(self, *, show: bool) -> None:
        self._show = show
        self._said = 0.0

    def __call__(self, cluster: str, done: float, rows: int) -> None:
        if self._show and (time.monotonic() - self._said >= SHOW_EVERY_S or done == 1.0):
            self._said = time.monotonic()
            end = "\n" if done == 1.0 else ""
            print(f"\r{cluster}: {done:4.0%}, {rows} jobs", end=end, file=sys.stderr, flush=True)
