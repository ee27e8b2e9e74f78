"""Write the tables of each release's slurmdbd as SQL, from Slurm's own sources.

    python tests/data/slurmdbd-schemas/derive.py CLONE

CLONE is a clone of Slurm's public repository with its release tags. For each release the newest tag counts. slurmdbd
makes its tables from lists of (column, definition); these and the keys are read, and the tables written that the
console reads or that slurmdbd needs beside them. `@c@` stands for the cluster's name.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SOURCE = "src/plugins/accounting_storage/mysql/accounting_storage_mysql.c"
# A cluster's own table is named first and made afterwards; a global one is made by its name.
NAMED = r"snprintf\(table_name[^;]*?cluster_name,\s*(\w+)\)"
MADE = r'mysql_db_create_table\(mysql_conn,\s*(\w+),\s*(\w+),\s*((?:"[^"]*"\s*)+)\)'
RELEASES = ("20.11", "21.08", "22.05", "23.02", "23.11", "24.05", "24.11", "25.05", "25.11", "26.05")
TABLES = {
    "acct_table", "acct_coord_table", "user_table", "qos_table", "tres_table", "cluster_table",
    "assoc_table", "job_table", "step_table", "suspend_table", "resv_table", "event_table", "last_ran_table",
    "wckey_table", "usage_hour_table", "usage_day_table", "usage_month_table", "assoc_usage_hour_table",
    "assoc_usage_day_table", "assoc_usage_month_table",
}  # fmt: skip


def newest_tag(clone: Path, release: str) -> str:
    """`slurm-22-05-11-1` of 22.05; no release candidate."""
    year, month = release.split(".")
    shown = subprocess.run(
        ["git", "-C", str(clone), "tag", "--list", f"slurm-{year}-{month}-*"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    numbers = {tag: [int(part) for part in tag.split("-")[3:]] for tag in shown if "rc" not in tag}
    return max(numbers, key=lambda tag: numbers[tag])


def tables(source: str) -> dict[str, str]:
    """Table → its CREATE statement."""
    fields = {
        name: re.findall(r'\{\s*"(\w+)",\s*"([^"]*)"\s*\}', body)
        for name, body in re.findall(r"storage_field_t (\w+)\[\] = \{(.*?)\n\t\};", source, re.S)
    }
    names = dict(re.findall(r'char \*(\w+) = "(\w+)";', source))
    found: dict[str, str] = {}
    variable = ""
    for match in re.finditer(f"{NAMED}|{MADE}", source):
        if match[1]:
            variable = match[1]
            continue
        own = match[2] == "table_name"
        name = names[variable if own else match[2]]
        keys = re.sub(r"\s+", " ", "".join(re.findall(r'"([^"]*)"', match[4])))
        keys = re.sub(r"\)\s*(auto_increment=\d+)?\s*$", "", keys.strip()).lstrip(", ")
        lines = [f"`{column}` {kind}" for column, kind in fields[match[3]]]
        lines += [part.strip() for part in re.split(r",\s*(?=key |unique )", keys) if part]
        body = ",\n".join(f"  {line}" for line in lines)
        found[name] = f"CREATE TABLE `{'@c@_' if own else ''}{name}` (\n{body}\n);\n"
    return {name: sql for name, sql in found.items() if name in TABLES}


def main() -> int:
    clone = Path(sys.argv[1])
    for release in RELEASES:
        tag = newest_tag(clone, release)
        source = subprocess.run(
            ["git", "-C", str(clone), "show", f"{tag}:{SOURCE}"], capture_output=True, text=True, check=True
        ).stdout
        found = tables(source)
        if missing := TABLES - found.keys():
            raise SystemExit(f"{tag}: {', '.join(sorted(missing))} not found")
        made = "\n".join(found[name] for name in sorted(found))
        (HERE / f"{release}.sql").write_text(f"-- Tables of slurmdbd {release} ({tag}), by derive.py\n\n{made}")
        print(f"{release}: {tag}, {len(found)} tables")
    return 0


if __name__ == "__main__":
    sys.exit(main())
