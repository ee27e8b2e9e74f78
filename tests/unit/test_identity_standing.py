"""A person by name, without a login: what may be done in their name while they are away."""

from __future__ import annotations

from pathlib import Path

from tests.unit.identity_kit import PASSWORD, LockingDirectory, kit


def test_one_who_is_away_has_the_rights_of_today(tmp_path: Path) -> None:
    made = kit(tmp_path)
    made.add("ada", roles=("operator",))
    made.identity.coordinates_by(lambda name: frozenset({"physics"}) if name == "ada" else frozenset())
    standing = made.identity.standing("ada")
    assert standing is not None
    assert (standing.name, standing.login_id) == ("ada", "")
    assert standing.roles == {"user", "operator", "coordinator"}
    assert standing.coordinates == {"physics"}
    made.identity.set_roles("console", "ada", ())
    made.identity.coordinates_by(lambda _name: frozenset())
    standing = made.identity.standing("ada")
    assert standing is not None
    assert standing.roles == {"user"}


def test_nobody_and_the_locked_have_none(tmp_path: Path) -> None:
    made = kit(tmp_path)
    made.add("ada")
    assert made.identity.standing("nobody") is None
    made.identity.lock_person("console", "ada")
    assert made.identity.standing("ada") is None
    made.identity.unlock_person("console", "ada")
    assert made.identity.standing("ada") is not None


def test_a_directorys_roles_are_those_of_the_last_sign_in(tmp_path: Path) -> None:
    directory = LockingDirectory("ada")
    directory.roles = frozenset({"operator"})
    made = kit(tmp_path, directory)
    made.identity.sign_in_password("ada", PASSWORD, "192.0.2.1")
    standing = made.identity.standing("ada")
    assert standing is not None
    assert "operator" in standing.roles
    directory.roles = frozenset()
    made.identity.sign_in_password("ada", PASSWORD, "192.0.2.1")
    standing = made.identity.standing("ada")
    assert standing is not None
    assert "operator" not in standing.roles
