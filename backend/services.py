"""Everything a page, a route or a command may ask, opened once for each process."""

from __future__ import annotations

from dataclasses import dataclass

from backend.accounting.budgets import AccountPeople, Budgets, PriceBook
from backend.accounting.embeds import Embeds
from backend.accounting.history import History, JobMarks, SavedFilters
from backend.accounting.projects import ProjectBook
from backend.accounting.reports import Members, Reports
from backend.accounting.usage import Usage
from backend.accounting.warehouse import Warehouse
from backend.cluster import SnapshotReader
from backend.coordinators import Coordinators
from backend.identity import Identity
from backend.launcher import Launcher
from backend.notices import Mailer
from backend.sessions import Sessions
from backend.store import Database, SecretBox
from backend.telemetry import Telemetry, open_telemetry
from backend.telemetry.verdicts import Rulebook
from backend.waste import IdleNotices, Sender
from config import Settings


@dataclass(frozen=True)
class Services:
    settings: Settings
    db: Database
    box: SecretBox
    identity: Identity
    snapshots: SnapshotReader
    launcher: Launcher
    sessions: Sessions
    warehouse: Warehouse
    usage: Usage
    reports: Reports
    embeds: Embeds
    prices: PriceBook
    projects: ProjectBook
    budgets: Budgets
    verdicts: Rulebook
    telemetry: Telemetry
    idle_notices: IdleNotices
    history: History
    marks: JobMarks
    filters: SavedFilters


def open_services(settings: Settings) -> Services:
    """Open the data folder: the database (migrated if it is behind), the snapshot, the launcher's client.

    Raises what the parts raise when the data folder or the database can't be used.
    """
    verdicts = Rulebook(settings.telemetry.rules_file)  # first: what makes no sense stops the start
    projects = ProjectBook(settings.accounting.projects_file)
    db = Database(settings.store.url)
    db.upgrade()
    box = SecretBox(settings.instance.data_dir, settings.store.key, settings.store.key_file)
    snapshots = SnapshotReader(settings.instance.data_dir / "snapshot", settings.scheduler.cluster)
    launcher = Launcher(settings)
    identity = Identity(settings, db, box)
    identity.coordinates_by(Coordinators(snapshots))
    warehouse = Warehouse(settings.instance.data_dir / "accounting", settings.accounting.memory_mb)
    prices = PriceBook(db, settings.instance.time_zone)
    usage = Usage(warehouse, settings.instance.time_zone, prices=prices, projects=projects)
    sender = Sender(settings.instance.name, settings.web.public_url, settings.instance.time_zone)
    telemetry = open_telemetry(settings)
    marks = JobMarks(db)
    return Services(
        settings=settings,
        db=db,
        box=box,
        identity=identity,
        snapshots=snapshots,
        launcher=launcher,
        sessions=Sessions(settings, db, box, snapshots, launcher),
        warehouse=warehouse,
        usage=usage,
        reports=Reports(settings, db, usage, members=Members(snapshots)),
        embeds=Embeds(settings.embeds, db, box, identity, ask=usage.ask),
        prices=prices,
        projects=projects,
        budgets=Budgets(db, usage, AccountPeople(snapshots, usage)),
        verdicts=verdicts,
        idle_notices=IdleNotices(db, Mailer(settings.mail), sender),
        telemetry=telemetry,
        history=History(warehouse, telemetry, marks),
        marks=marks,
        filters=SavedFilters(db, settings.instance.time_zone),
    )
