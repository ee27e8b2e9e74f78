"""The accounts: whether their source answers and lets us read, and how fresh the warehouse is."""

from __future__ import annotations

import time

from backend.accounting.dbd import DatabaseAway, DatabaseRefuses, NotSlurmdbd, Reader, SourceError
from backend.accounting.projects import ProjectBook, ProjectsUnusable
from backend.accounting.sync import warehouse_folder
from backend.accounting.warehouse import Warehouse, WarehouseUnusable
from backend.checks.finding import Outcome, bad, doubtful, good
from config import Settings

LATE_FACTOR = 5
MOST_NAMED = 10
KNOWN = (
    "SELECT cluster, name FROM accounts UNION SELECT cluster, account FROM usage_day WHERE level = 'account' "
    "UNION SELECT cluster, account FROM open_jobs"
)
GRANT = "CREATE USER '{user}'@'…' IDENTIFIED BY '…'; GRANT SELECT ON {database}.* TO '{user}'@'…';"


def check_accounts_source(settings: Settings) -> Outcome:
    """The database of slurmdbd: reachable, readable, not writable, of a release that is known."""
    if settings.accounting.source != "slurmdbd":
        local = settings.accounting.source == "local"
        return good("this machine's own jobs" if local else "by import (carme import-sacct)")
    grant = GRANT.format(user=settings.slurmdbd.user, database=settings.slurmdbd.database)
    reader = Reader(settings.slurmdbd)
    try:
        return _found(reader, grant)
    except SourceError as error:
        return bad(str(error), _advice(error, grant))
    finally:
        reader.close()


def _found(reader: Reader, grant: str) -> Outcome:
    clusters = reader.clusters()
    found = f"{reader.server()}, clusters {', '.join(clusters) or 'none'}"
    if not clusters:
        return doubtful(found, "slurmdbd makes a cluster's tables when it registers: sacctmgr add cluster NAME.")
    if writing := writing_grants(reader.grants()):
        return doubtful(f"{found}; the account may do more than read ({writing})", f"SELECT is enough: {grant}")
    return good(found)


def _advice(error: SourceError, grant: str) -> str:
    if isinstance(error, DatabaseRefuses):
        return f"Check slurmdbd.user and the password file; as the database's root: {grant}"
    if isinstance(error, DatabaseAway):
        return "Check slurmdbd.host, port or socket, that the server runs, and the firewall."
    return "Check slurmdbd.database." if isinstance(error, NotSlurmdbd) else "The words are the server's own."


def writing_grants(grants: list[str]) -> str:
    """What an account may do beside reading, from SHOW GRANTS; "" when nothing."""
    found: list[str] = []
    for grant in grants:
        rights = grant.upper().partition("GRANT ")[2].partition(" ON ")[0]
        found += [right.strip() for right in rights.split(",")]
    harmless = {"USAGE", "SELECT", "SHOW VIEW", "SHOW DATABASES", "PROCESS", ""}
    return ", ".join(sorted({right for right in found if right not in harmless}))


def check_accounts(settings: Settings) -> Outcome:
    """Whether the warehouse is fresh."""
    try:
        warehouse = Warehouse(warehouse_folder(settings), settings.accounting.memory_mb)
        warehouse.refresh()
    except WarehouseUnusable as error:
        return bad(str(error), "Check the folder's owner; carme sync --rebuild makes it anew.")
    clusters = warehouse.state.clusters
    warehouse.close()
    if not clusters:
        return doubtful("no accounts yet", "`carme serve` brings them, `carme sync` at once.")
    told, problems = [], []
    for name, state in clusters.items():
        told.append(f"{name}: {state.rows} jobs ended, {state.open_rows} not")
        age_s = time.time() - (state.synced_s or 0)
        if state.error:
            problems.append(f"{name}: {state.error}")
        elif state.source in ("slurmdbd", "local") and age_s > LATE_FACTOR * settings.accounting.sync_every_s:
            late = f"not complete for {age_s:.0f} s" if state.synced_s else "first load unfinished"
            problems.append(f"{name}: {late}")
        if runaways := state.cursor.get("runaways"):
            problems.append(f"{name}: {runaways} runaway jobs (sacctmgr show runawayjobs)")
    if problems:
        return doubtful("; ".join([*told, *problems]), "See accounts' source above; `carme sync` says more.")
    return good("; ".join(told))


def check_projects(settings: Settings) -> Outcome:
    """The file of projects, where one is named."""
    if settings.accounting.projects_file is None:
        return good("none are set up (accounting.projects_file)")
    try:
        projects = ProjectBook(settings.accounting.projects_file).current()
    except ProjectsUnusable as error:
        return bad(str(error), "Correct the file; a console that runs keeps the projects of before meanwhile.")
    found = f"{len(projects.listed)} projects in {settings.accounting.projects_file}"
    if strangers := projects.strangers(_known_accounts(settings)):
        unknown = f"{', '.join(strangers[:MOST_NAMED])}{' …' if len(strangers) > MOST_NAMED else ''}"
        return doubtful(f"{found}; not in the accounts: {unknown}", "Correct their names, unless they are yet to come.")
    return good(found)


def _known_accounts(settings: Settings) -> set[tuple[str, str]]:
    """Cluster and name, of all there are and of all that jobs ran under. None where the warehouse can't be read: that
    is told by the check of the accounts."""
    warehouse = Warehouse(warehouse_folder(settings), settings.accounting.memory_mb)
    try:
        with warehouse.cursor() as asked:
            return set(asked.execute(KNOWN).fetchall())
    except WarehouseUnusable:
        return set()
    finally:
        warehouse.close()
