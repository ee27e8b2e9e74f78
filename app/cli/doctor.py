"""`carme doctor`: look at every connection, version and permission, and say what to do."""

from __future__ import annotations

import argparse
import os
from typing import Any

from app.cli.common import Failed, add_common, as_owner, check_owner, plain, print_json, settings_of

SIGNS = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}


def add_parser(commands: Any) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "doctor",
        help="check connections, versions and permissions",
        description="Look at every connection, version and permission, and say what to do about each "
        "that is not right. Exit status 1 when something has failed.",
    )
    add_common(parser, json_output=True)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Look at everything; 1 when something has failed."""
    from backend.checks import Finding, examine

    try:
        settings = settings_of(options)
    except Failed as refusal:
        findings = [Finding("settings", "fail", str(refusal), "Correct it; config/default.toml explains each key.")]
    else:
        check_owner(settings.instance.data_dir)
        os.environ.setdefault("CARME_DATA", str(settings.instance.data_dir))
        with as_owner(settings.instance.data_dir):
            findings = examine(settings)
    if options.json:
        print_json([finding.facts() for finding in findings])
    else:
        for finding in findings:
            print(f"{SIGNS[finding.state]}  {finding.check:16} {plain(finding.found)}")
            if finding.do:
                print(f"      {'':16} → {plain(finding.do)}")
    return 1 if any(finding.state == "fail" for finding in findings) else 0
