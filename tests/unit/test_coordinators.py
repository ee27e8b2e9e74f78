"""A coordinator of an account coordinates what is below it, and nothing beside it."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from backend.cluster import ACCOUNTS, empty_snapshot
from backend.coordinators import coordinated


def test_a_coordinator_has_the_account_and_all_below_it() -> None:
    rows = [
        ("root", "", []),
        ("physics", "root", ["ada"]),
        ("optics", "physics", ["bob"]),
        ("lasers", "optics", []),
        ("biology", "root", ["bob"]),
    ]
    table = pa.Table.from_pylist(
        [
            {"name": name, "description": "", "organization": "", "parent": parent, "coordinators": people}
            for name, parent, people in rows
        ],
        schema=ACCOUNTS,
    )
    part = replace(empty_snapshot("c").accounts, table=table)
    assert coordinated(part) == {
        "ada": frozenset({"physics", "optics", "lasers"}),
        "bob": frozenset({"optics", "lasers", "biology"}),
    }


def test_nobody_coordinates_before_the_accounts_are_read() -> None:
    assert coordinated(empty_snapshot("c").accounts) == {}
