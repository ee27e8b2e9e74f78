"""`carme session`: people's interactive work."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from typing import Any

from app.cli.common import (
    Failed,
    actor,
    add_common,
    duration_s,
    gpus,
    opened,
    plain,
    print_json,
    print_table,
    when,
)
from backend.identity import Viewer
from backend.services import Services
from backend.sessions import LaunchRequest, Session, SessionError
from backend.store import audit

LOOK_EVERY_S = 0.5
FACTS = (
    *("id", "owner", "title", "cluster", "state", "reason", "job_id", "node", "exit_code"),
    *("created_s", "start_s", "limit_end_s", "ready_s", "end_s"),
)


def add_parser(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser("session", help="people's sessions", description="People's interactive work.")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    launch = actions.add_parser("launch", help="launch a session as a person")
    launch.add_argument("--as", dest="user", required=True, metavar="USER", help="whose session it is")
    launch.add_argument("--app", default="", metavar="APP", help="what to start (default: the site's)")
    launch.add_argument("--gpus", type=gpus, default=("", 0), metavar="[TYPE:]N", help="a node, such as a100:1")
    launch.add_argument("--time", type=duration_s, default=0, metavar="T", help="30m, 2h, 1-00:00:00")
    for name in ("account", "partition", "qos", "image", "reservation", "title"):
        launch.add_argument(f"--{name}", default="", metavar=name.upper())
    launch.add_argument("--work-dir", default="", metavar="FOLDER")
    launch.add_argument("--nodes", type=int, default=1, metavar="N")
    launch.add_argument("--cpus", type=int, default=0, metavar="N", help="a node")
    launch.add_argument("--memory-mb", type=int, default=0, metavar="N", help="a node")
    launch.add_argument("--wait", action="store_true", help="until its app is ready")
    add_common(launch, json_output=True)
    launch.set_defaults(run=run_launch)
    listing = actions.add_parser("list", help="sessions, the newest first")
    listing.add_argument("--user", metavar="USER", help="of one person")
    listing.add_argument("--all", action="store_true", help="with those that are over")
    add_common(listing, json_output=True)
    listing.set_defaults(run=run_list)
    stop = actions.add_parser("stop", help="ask for a session's end")
    stop.add_argument("session", metavar="SESSION")
    add_common(stop, json_output=True)
    stop.set_defaults(run=run_stop)


def run_launch(options: argparse.Namespace) -> int:
    """Launch as a person, within the person's limits."""
    kind, count = options.gpus
    with opened(options) as services:
        person = person_of(services, options.user)
        request = LaunchRequest(
            app=options.app or services.settings.sessions.default_app,
            account=options.account,
            partition=options.partition,
            qos=options.qos,
            gpus=count,
            gpu_type=kind,
            nodes=options.nodes,
            cpus=options.cpus,
            memory_mb=options.memory_mb,
            time_s=options.time,
            image=options.image,
            work_dir=options.work_dir,
            reservation=options.reservation,
            title=options.title,
        )
        services.snapshots.refresh()
        try:
            session = asyncio.run(services.sessions.launch(person, request, address=actor()))
        except SessionError as error:
            _note(services, "session.launch", options.user, "refused")
            raise Failed(str(error)) from error
        _note(services, "session.launch", session.id, "done")
        if options.wait:
            session = _wait(services, person, session)
    _show(options, session)
    if options.wait and session.state != "ready":
        raise Failed(f"session {session.id} is {session.state}: {session.reason}")
    return 0


def run_list(options: argparse.Namespace) -> int:
    """Show sessions."""
    with opened(options) as services:
        found = services.sessions.list(_operator(), owner=options.user or "*", ended=options.all, limit=1000)
        zone = services.settings.instance.time_zone
    if options.json:
        print_json([facts(session) for session in found])
        return 0
    print_table(
        ["session", "owner", "app", "state", "job", "node", "start", "reason"],
        [
            [
                session.id,
                session.owner,
                session.request.app,
                session.state,
                session.job_id,
                session.node,
                when(session.start_s, zone),
                session.reason,
            ]
            for session in found
        ],
    )
    return 0


def run_stop(options: argparse.Namespace) -> int:
    """Ask for the end."""
    with opened(options) as services:
        try:
            session = asyncio.run(services.sessions.stop(_operator(), options.session, address=actor()))
        except SessionError as error:
            raise Failed(str(error)) from error
        _note(services, "session.stop", session.id, "done")
    _show(options, session)
    return 0


def person_of(services: Services, name: str) -> Viewer:
    """The person as they would be signed in. Raises Failed where the console's own directory has none."""
    known = {person.name: person for person in services.identity.people(actor())}.get(name)
    if known is None and services.settings.directory.kind == "local":
        raise Failed(f"there is no account {name}: carme user add {name}")
    if known is not None and known.locked:
        raise Failed(f"{name} is locked: carme user unlock {name}")
    uid = known.uid if known is not None else None
    return Viewer(name, known.display_name if known else name, uid, frozenset({"user"}), login_id=actor())


def facts(session: Session) -> dict[str, Any]:
    """What `--json` prints of a session."""
    found: dict[str, Any] = {name: getattr(session, name) for name in FACTS}
    return {**found, "apps": dict(session.apps), "request": session.request.to_dict()}


def _operator() -> Viewer:
    """The data folder's owner sees and stops every session, as an operator does; they open none."""
    return Viewer(actor(), actor(), None, frozenset({"user", "operator"}), login_id=actor())


def _wait(services: Services, person: Viewer, session: Session) -> Session:
    shown = ""
    while session.live and session.state != "ready":
        if session.state != shown:
            print(f"{session.id}: {session.state} {plain(session.reason)}".rstrip(), file=sys.stderr)
            shown = session.state
        time.sleep(LOOK_EVERY_S)
        session = services.sessions.get(person, session.id)
    return session


def _show(options: argparse.Namespace, session: Session) -> None:
    if options.json:
        print_json(facts(session))
    else:
        print(f"{session.id} {session.state}")


def _note(services: Services, action: str, target: str, outcome: Any) -> None:
    with services.db.begin() as rows:
        audit(rows, actor(), action, target, outcome)
