"""`carme serve`: run the console."""

from __future__ import annotations

import argparse
import logging
import os
from typing import Any

from app.cli.common import Failed, WrongUse, add_common, check_owner, remember_overrides, settings_of
from backend.starting import CantStart

log = logging.getLogger("carme.serve")


def add_parser(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser("serve", help="run the console", description="Run the console until it is stopped.")
    add_common(parser)
    parser.add_argument("--address", metavar="A", help="the address both listen on")
    parser.add_argument("--port", metavar="P", type=int, help="the console's port")
    parser.add_argument("--apps-port", metavar="Q", type=int, help="the apps' port")
    parser.add_argument(
        "--only",
        metavar="PROCESS[,PROCESS]",
        help="run only these of: supervisor, launcher, collector, proxy, web",
    )
    parser.add_argument("--as-process", metavar="PROCESS", help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    from app.processes import CANT_START, ROLE_NAMES, default_roles, run_role, serve

    settings = settings_of(options, overrides(options))
    check_owner(settings.instance.data_dir)
    logging.basicConfig(
        level=os.environ.get("CARME_LOG", "INFO").upper(),
        format=f"%(asctime)s %(levelname)s {options.as_process or 'serve'} %(name)s: %(message)s",
    )
    logging.getLogger("alembic").setLevel(logging.WARNING)
    roles = default_roles(settings)
    if options.only:
        roles = tuple(options.only.split(","))
    unknown = [name for name in (*roles, *filter(None, [options.as_process])) if name not in ROLE_NAMES]
    if unknown:
        raise WrongUse(f"there is no process {unknown[0]!r}: {', '.join(ROLE_NAMES)}")
    if options.as_process:
        try:
            run_role(options.as_process, settings)
        except CantStart as error:
            log.error("%s", error)  # it says what to do; a traceback would say nothing more
            return CANT_START
        return 0
    data_dir = settings.instance.data_dir.absolute()
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        remember_overrides(data_dir, overrides(options))
    except OSError as error:
        raise Failed(f"the data folder {data_dir} can't be made or written: {error.strerror}") from error
    # The processes run in another folder: what is relative to this one must be absolute for them.
    os.environ["CARME_DATA"] = str(data_dir)
    if settings.source is not None:
        os.environ["CARME_CONFIG"] = str(settings.source)
    return serve(settings, roles, passed_on(options))


def overrides(options: argparse.Namespace) -> dict[str, Any]:
    """What the command line says over the settings file."""
    named = {
        "web.address": options.address,
        "apps.address": options.address,
        "web.port": options.port,
        "apps.port": options.apps_port,
    }
    return {key: value for key, value in named.items() if value is not None}


def passed_on(options: argparse.Namespace) -> list[str]:
    """The arguments that each started process needs to see the same settings."""
    arguments: list[str] = []
    for flag, value in (
        ("--config", options.config.absolute() if options.config else None),
        ("--address", options.address),
        ("--port", options.port),
        ("--apps-port", options.apps_port),
    ):
        if value is not None:
            arguments += [flag, str(value)]
    return arguments
