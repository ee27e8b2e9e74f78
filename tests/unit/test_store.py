"""The database comes up by itself, once; transactions hold; secrets are encrypted with a key of their own."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import inspect, text
from sqlalchemy.orm import Session as DbSession

from backend.store import (
    Database,
    DatabaseUnusable,
    KeyUnusable,
    NotDecrypted,
    SecretBox,
    audit,
    models,
    same,
)
from backend.store.migrate import current, head


def database(tmp_path: Path) -> Database:
    db = Database(f"sqlite:///{tmp_path / 'data' / 'carme.db'}")
    db.upgrade()
    return db


def count(db: Database) -> int:
    with db.read() as rows:
        return rows.query(models.Audit).count()


def line(rows: DbSession) -> None:
    audit(rows, "ada", "test.line")


def test_an_empty_database_gets_every_table(tmp_path: Path) -> None:
    tables = set(inspect(database(tmp_path).engine).get_table_names())
    assert set(models.Base.metadata.tables) <= tables


def test_upgrading_twice_changes_nothing(tmp_path: Path) -> None:
    db = database(tmp_path)
    with db.begin() as rows:
        line(rows)
    db.upgrade()
    with db.engine.connect() as connection:
        assert current(connection) == head()
    assert count(db) == 1


def test_the_migrations_lead_to_the_models_as_they_are(tmp_path: Path) -> None:
    """When this fails: `python -m backend.store.revise NUMBER "what changes"`."""
    with database(tmp_path).engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, models.Base.metadata) == []


def test_two_processes_may_upgrade_at_once(tmp_path: Path) -> None:
    code = "import sys; from backend.store import Database; Database(sys.argv[1]).upgrade()"
    url = f"sqlite:///{tmp_path / 'carme.db'}"
    both = [subprocess.Popen([sys.executable, "-c", code, url], stderr=subprocess.PIPE) for _ in range(3)]
    for each in both:
        _, errors = each.communicate(timeout=60)
        assert each.returncode == 0, errors.decode()
    with Database(url).engine.connect() as connection:
        assert current(connection) == head()


def test_the_database_file_is_its_owners_alone(tmp_path: Path) -> None:
    database(tmp_path)
    assert (tmp_path / "data" / "carme.db").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700


def test_all_files_of_the_database_are_its_owners_alone_in_a_folder_that_is_open(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    before = os.umask(0o022)
    try:
        db = Database(f"sqlite:///{tmp_path / 'carme.db'}")
        db.upgrade()
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert set(modes) >= {"carme.db", "carme.db-wal", "carme.db-shm"}
    assert set(modes.values()) == {0o600}, modes
    db.close()


def test_an_unusable_database_is_named_without_its_password(tmp_path: Path) -> None:
    (tmp_path / "carme.db").write_text("this is no database, and long enough to be seen as none")
    with pytest.raises(DatabaseUnusable, match=r"carme\.db"):
        Database(f"sqlite:///{tmp_path / 'carme.db'}").upgrade()


def test_a_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    db = database(tmp_path)
    with pytest.raises(ZeroDivisionError), db.begin() as rows:
        line(rows)
        rows.flush()
        raise ZeroDivisionError
    assert count(db) == 0


def test_rows_stay_readable_after_their_transaction(tmp_path: Path) -> None:
    db = database(tmp_path)
    with db.begin() as rows:
        line(rows)
    with db.read() as rows:
        found = rows.query(models.Audit).one()
    assert found.actor == "ada"


def test_reading_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    db = database(tmp_path)
    with db.begin() as writer:
        line(writer)
        writer.flush()
        assert count(db) == 0


def test_what_a_transaction_reads_still_holds_when_it_writes(tmp_path: Path) -> None:
    """Read, add one, write: eight threads lose no update, because the write lock is taken at the start."""
    db = database(tmp_path)
    with db.begin() as rows:
        rows.add(models.Throttle(key="k", failures=0))

    def add() -> None:
        for _ in range(25):
            with db.begin() as rows:
                row = rows.get(models.Throttle, "k")
                assert row is not None
                row.failures = row.failures + 1

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with db.read() as rows:
        assert rows.get_one(models.Throttle, "k").failures == 200


def test_write_ahead_log_is_on(tmp_path: Path) -> None:
    with database(tmp_path).engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"


def test_an_audit_line_is_part_of_the_change(tmp_path: Path) -> None:
    db = database(tmp_path)
    with db.begin() as rows:
        audit(rows, "a" * 500, "x" * 500, "t" * 500, "refused", "192.0.2.1", why="wrong")
    with db.read() as rows:
        found = rows.query(models.Audit).one()
    assert (len(found.actor), len(found.action), len(found.target)) == (128, 64, 255)
    assert (found.outcome, found.detail) == ("refused", {"why": "wrong"})


# Secrets at rest


@given(st.binary(max_size=200), st.text(max_size=20))
def test_what_is_encrypted_comes_back(data: bytes, purpose: str) -> None:
    box = SecretBox("/nonexistent", key=base64.b64encode(b"k" * 32).decode())
    sealed = box.encrypt(data, purpose=purpose)
    assert box.decrypt(sealed, purpose=purpose) == data
    assert len(data) < 4 or data not in sealed


def test_a_secret_opens_for_its_own_purpose_and_key_only(tmp_path: Path) -> None:
    box = SecretBox(tmp_path / "a")
    sealed = box.encrypt(b"secret", purpose="totp:ada")
    for other, purpose, blob in (
        (box, "totp:bob", sealed),
        (SecretBox(tmp_path / "b"), "totp:ada", sealed),
        (box, "totp:ada", sealed[:-1] + bytes([sealed[-1] ^ 1])),
        (box, "totp:ada", b""),
        (box, "totp:ada", b"\x01"),
        (box, "totp:ada", b"\x02" + sealed[1:]),
    ):
        with pytest.raises(NotDecrypted):
            other.decrypt(blob, purpose=purpose)


def test_the_key_is_made_once_and_private(tmp_path: Path) -> None:
    first, second = SecretBox(tmp_path), SecretBox(tmp_path)
    assert first.hmac("a", "b") == second.hmac("a", "b")
    assert (tmp_path / "secret.key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret.key"]


def test_signatures_differ_by_purpose_text_and_key(tmp_path: Path) -> None:
    box = SecretBox(tmp_path)
    signed = {
        box.hmac("a", "b"),
        box.hmac("a", "c"),
        box.hmac("b", "b"),
        SecretBox(tmp_path / "2").hmac("a", "b"),
    }
    assert len(signed) == 4


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    SecretBox(tmp_path)
    (tmp_path / "secret.key").chmod(0o644)
    with pytest.raises(KeyUnusable, match="everybody can read"):
        SecretBox(tmp_path)
    (tmp_path / "secret.key").chmod(0o640)
    with pytest.raises(KeyUnusable, match="its group can read"):
        SecretBox(tmp_path)


@pytest.mark.parametrize("key", ["not base64!", base64.b64encode(b"short").decode()])
def test_a_key_that_is_none_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(KeyUnusable):
        SecretBox(tmp_path, key=key)


def test_several_processes_make_one_key(tmp_path: Path) -> None:
    code = "import sys; from backend.store import SecretBox; print(SecretBox(sys.argv[1]).hmac('a', 'b'))"
    command = [sys.executable, "-c", code, str(tmp_path)]
    all_of_them = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert len({each.communicate(timeout=60)[0] for each in all_of_them}) == 1


@given(st.text(), st.text())
def test_texts_of_any_characters_are_compared(left: str, right: str) -> None:
    try:
        left.encode(), right.encode()
    except UnicodeEncodeError:
        return
    assert same(left, right) == (left == right)
