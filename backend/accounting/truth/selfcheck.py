"""The nightly comparison, and those a page asks for: a thread of the collector process, one at a time."""

from __future__ import annotations

import logging
import threading
import time
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from backend.accounting.truth import checks
from backend.accounting.truth.comparison import NothingToCompare, compare
from backend.accounting.truth.ours import Asks
from backend.accounting.truth.sacct import Stopped
from backend.accounting.truth.window import month_before, month_of
from backend.accounting.warehouse import Warehouse, WarehouseUnusable
from backend.cluster import SchedulerError
from backend.cluster.slurm import Commands
from backend.store import CONSOLE, Database
from config import Settings

log = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0  # for comparisons that a page asks for
BEFORE_TOO_DAYS = 3  # so far into a month the one before is compared, too: late edits, the last hours rolled up
COMMAND_S = 600.0  # a day of sacct at the largest sites


class SelfCheck:
    """Compares the console with sreport and sacct every night at `accounting.self_check_hour`, and when asked."""

    def __init__(self, settings: Settings, warehouse: Warehouse, usage: Asks, db: Database) -> None:
        self.settings = settings
        self.warehouse = warehouse
        self.usage = usage
        self.db = db
        self.zone = settings.instance.time_zone
        slurm = settings.slurm
        self.commands = Commands(slurm.bin_dir, slurm.conf, COMMAND_S)

    def run(self, stop: threading.Event) -> None:
        """Until told to stop. What a comparison meets is kept with it, and never the end of the thread."""
        try:
            checks.give_up_stale(self.db)
        except Exception:
            log.exception("the comparisons of before can't be cleared")
        due_s = self.next_night(time.time())
        failed = ""
        while not stop.wait(LOOK_EVERY_S):
            try:
                if due_s is not None and time.time() >= due_s:
                    self.ask_nightly(time.time())
                    due_s = self.next_night(time.time())  # a night that could not be asked for is tried again
                self.make_next(stop)
            except Exception as error:
                if failed != repr(error):  # a lasting failure is logged once
                    failed = repr(error)
                    log.exception("the comparison with Slurm's tools failed")
            else:
                failed = ""

    def next_night(self, now_s: float) -> float | None:
        """When the nightly comparison is due next; None when there is none."""
        hour = self.settings.accounting.self_check_hour
        if hour < 0 or self.settings.accounting.source != "slurmdbd":
            return None
        now = datetime.fromtimestamp(now_s, ZoneInfo(self.zone))
        due = now.replace(hour=hour, minute=0, second=0, microsecond=0)
        if due <= now:
            due = (due + timedelta(days=1)).replace(hour=hour)
        return due.timestamp()

    def ask_nightly(self, now_s: float) -> None:
        """Ask for this month, and soon after its start for the month before."""
        month = month_of(now_s, self.zone)
        months = [month]
        if datetime.fromtimestamp(now_s, ZoneInfo(self.zone)).day <= BEFORE_TOO_DAYS:
            months.append(month_before(month))
        self.warehouse.refresh()
        for cluster, state in self.warehouse.state.clusters.items():
            if state.source == "slurmdbd":
                for each in months:
                    checks.ask(self.db, cluster, each, CONSOLE)

    def make_next(self, stop: threading.Event | None = None) -> bool:
        """Make the next comparison that was asked for; False when there is none."""
        asked = checks.next_asked(self.db)
        if asked is None:
            return False
        try:
            found = compare(self.commands, self.warehouse, self.usage, asked.cluster, asked.month, self.zone, stop)
        except Stopped:
            checks.finish(self.db, asked, None, checks.STOPPED)
        except (NothingToCompare, SchedulerError, WarehouseUnusable) as error:
            checks.finish(self.db, asked, None, str(error))
        except Exception as error:
            checks.finish(self.db, asked, None, f"That went wrong; it is in the collector's log: {error!r}")
            raise
        else:
            checks.finish(self.db, asked, found)
        return True
