"""`carme user`: people's accounts, for the data folder's owner."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.cli.common import Failed, actor, add_common, opened, plain, print_json, print_table, when
from backend.identity import Identity, IdentityError, PersonInfo
from config import SettingsError
from config.secret_files import read_secret_file


def add_parser(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser("user", help="people's accounts", description="People's accounts.")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="make a local account")
    add.add_argument("name", metavar="NAME")
    add.add_argument("--password-file", metavar="F", type=Path, help="its password (mode 0600); asked for where absent")
    add.add_argument("--role", action="append", default=[], choices=["operator", "admin"], help="may repeat")
    add.add_argument("--display-name", metavar="TEXT", default="")
    add.add_argument("--mail", metavar="ADDRESS", default="")
    add.add_argument("--uid", metavar="N", type=int, help="the Unix uid (default: the Unix user's of that name)")
    add_common(add)
    add.set_defaults(run=run_add)
    for name, run, words in (
        ("lock", run_lock, "refuse a person: no sign-in, open logins end"),
        ("unlock", run_unlock, "let a person in again"),
        ("reset-2fa", run_reset, "take away a lost second factor: the next sign-in sets up another"),
        ("code", run_code, "print a code for a person's first enrolment"),
    ):
        action = actions.add_parser(name, help=words, description=words.capitalize() + ".")
        action.add_argument("name", metavar="NAME")
        add_common(action)
        action.set_defaults(run=run)
    listing = actions.add_parser("list", help="everyone the console knows")
    add_common(listing, json_output=True)
    listing.set_defaults(run=run_list)


def run_add(options: argparse.Namespace) -> int:
    """Make a local account."""
    password = _password(options)

    def add(identity: Identity) -> str:
        made = identity.add_person(
            actor(),
            options.name,
            password,
            display_name=options.display_name,
            mail=options.mail,
            roles=options.role,
            uid=options.uid,
        )
        return f"{made.name} can sign in now."

    return _change(options, add)


def run_lock(options: argparse.Namespace) -> int:
    """Refuse a person."""

    def lock(identity: Identity) -> str:
        identity.lock_person(actor(), options.name)
        return f"{options.name} is locked."

    return _change(options, lock)


def run_unlock(options: argparse.Namespace) -> int:
    """Let a person in again."""

    def unlock(identity: Identity) -> str:
        identity.unlock_person(actor(), options.name)
        return f"{options.name} may sign in again."

    return _change(options, unlock)


def run_reset(options: argparse.Namespace) -> int:
    """Take away a second factor."""

    def reset(identity: Identity) -> str:
        had_one = identity.reset_factor(actor(), options.name)
        return f"{options.name} sets up a new one." if had_one else f"{options.name} had no second factor."

    return _change(options, reset)


def run_code(options: argparse.Namespace) -> int:
    """Print an enrolment code."""
    return _change(options, lambda identity: identity.enrolment_code(actor(), options.name))


def run_list(options: argparse.Namespace) -> int:
    """Show everyone."""
    with opened(options) as services:
        people = services.identity.people(actor())
        zone = services.settings.instance.time_zone
    if options.json:
        print_json([_facts(person) for person in people])
        return 0
    print_table(
        ["name", "from", "roles", "uid", "second factor", "last seen", ""],
        [
            [
                person.name,
                person.source,
                ",".join(person.roles),
                person.uid,
                "yes" if person.has_factor else "no",
                when(person.seen_s, zone),
                "locked" if person.locked else "",
            ]
            for person in people
        ],
    )
    return 0


def _facts(person: PersonInfo) -> dict[str, Any]:
    return {
        "name": person.name,
        "source": person.source,
        "display_name": person.display_name,
        "mail": person.mail,
        "uid": person.uid,
        "roles": list(person.roles),
        "locked": person.locked,
        "has_factor": person.has_factor,
        "created_s": person.created_s,
        "seen_s": person.seen_s,
    }


def _change(options: argparse.Namespace, change: Callable[[Identity], str]) -> int:
    with opened(options) as services:
        try:
            words = change(services.identity)
        except IdentityError as error:
            raise Failed(str(error)) from error
    print(plain(words))
    return 0


def _password(options: argparse.Namespace) -> str:
    if options.password_file is None:
        if not sys.stdin.isatty():
            raise Failed("--password-file says where the password is (there is no terminal to ask on)")
        first = getpass.getpass("Password: ")
        if getpass.getpass("Again: ") != first:
            raise Failed("the two passwords differ")
        return first
    try:
        return read_secret_file(options.password_file, "command line", "--password-file")
    except SettingsError as error:
        raise Failed(str(error)) from error
