"""For developers: write the migration that leads from the newest one to the models as they are.

`python -m backend.store.revise 0002 "projects"`; read what it wrote before committing it.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from alembic import command

from backend.store.database import Database
from backend.store.migrate import MIGRATIONS, configuration


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("revision", help="number of the step, such as 0002")
    parser.add_argument("message", help="what changes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{Path(folder) / 'empty.db'}")
        if any(MIGRATIONS.glob("versions/0*.py")):
            database.upgrade()
        with database.engine.begin() as connection:
            command.revision(
                configuration(connection), arguments.message, autogenerate=True, rev_id=arguments.revision
            )
        database.close()


if __name__ == "__main__":
    main()
