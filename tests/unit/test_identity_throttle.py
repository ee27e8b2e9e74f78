"""Guessing is slowed; nobody is locked out by it, neither by the directory nor by strangers."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.identity import DirectoryDown, NotAllowedHere, SignInRefused, Throttled
from backend.identity.directories import Budget, DirectoryPerson
from backend.identity.throttle import PassedOn, Throttles, address_key
from backend.store import Database
from backend.store.models import Throttle
from tests.unit.identity_kit import PASSWORD, Clock, Kit, LockingDirectory, kit


def database(tmp_path: Path) -> Database:
    db = Database(f"sqlite:///{tmp_path / 'carme.db'}")
    db.upgrade()
    return db


def wrong(k: Kit, name: str, address: str = "192.0.2.66", known_browser: str = "") -> str:
    try:
        k.identity.sign_in_password(name, "wrong", address, known_browser)
    except (SignInRefused, Throttled) as error:
        return type(error).__name__
    raise AssertionError("a wrong password was taken")


# Growing delays


def test_the_delay_doubles_up_to_its_limit(tmp_path: Path) -> None:
    clock = Clock()
    throttles = Throttles(database(tmp_path), after=3, max_s=60, clock=clock)
    waits = []
    for _ in range(12):
        try:
            throttles.take("account:ada")
        except Throttled as error:
            waits.append(error.retry_s)
            clock.forward(error.retry_s)
            throttles.take("account:ada")
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_throttled_try_is_not_looked_at_and_does_not_count(tmp_path: Path) -> None:
    directory = LockingDirectory("ada", lock_after=1000)
    k = kit(tmp_path, directory, LDAP__LOCKOUT_AFTER="1000")
    for _ in range(5):
        assert wrong(k, "ada") == "SignInRefused"
    for _ in range(50):
        assert wrong(k, "ada") == "Throttled"
    assert directory.wrong["ada"] == 5
    k.clock.forward(1.01)
    assert wrong(k, "ada") == "SignInRefused"


def test_the_right_password_ends_the_delay(tmp_path: Path) -> None:
    k = kit(tmp_path)
    k.add()
    for _ in range(4):
        wrong(k, "ada")
    k.identity.sign_in_password("ada", PASSWORD)
    for _ in range(5):
        assert wrong(k, "ada") == "SignInRefused"


def test_tries_at_the_same_moment_cannot_slip_through(tmp_path: Path) -> None:
    """Each counts before it is looked at."""
    throttles = Throttles(database(tmp_path), after=5, max_s=300, clock=Clock())
    for _ in range(5):
        throttles.take("account:ada")
    with pytest.raises(Throttled):
        throttles.take("account:ada")


def test_failures_are_forgotten_after_an_hour(tmp_path: Path) -> None:
    k = kit(tmp_path)
    k.add()
    for _ in range(5):
        wrong(k, "ada")
    k.clock.forward(3601)
    for _ in range(5):
        assert wrong(k, "ada") == "SignInRefused"


def test_known_and_unknown_names_are_slowed_alike(tmp_path: Path) -> None:
    k = kit(tmp_path, LockingDirectory("ada"))
    answers = {name: [wrong(k, name, f"2001:db8:{i}::1") for i in range(30)] for name in ("ada", "nobody")}
    assert answers["ada"] == answers["nobody"]


def test_spellings_of_a_name_share_one_delay(tmp_path: Path) -> None:
    k = kit(tmp_path)
    k.add()
    for name in ("ada", "ADA", " Ada ", "ａｄａ", "aDa"):
        assert wrong(k, name) == "SignInRefused"
    assert wrong(k, "ada") == "Throttled"


# Addresses


def test_many_names_from_one_address_are_slowed(tmp_path: Path) -> None:
    k = kit(tmp_path)
    answers = [wrong(k, f"person{number}") for number in range(80)]
    assert answers[:50] == ["SignInRefused"] * 50
    assert answers[50:] == ["Throttled"] * 30
    assert wrong(k, "person0", "198.51.100.1") == "SignInRefused"


def test_an_address_is_forgiven_with_time(tmp_path: Path) -> None:
    k = kit(tmp_path)
    for number in range(55):
        wrong(k, f"person{number}")
    k.clock.forward(3600)
    assert [wrong(k, f"other{number}") for number in range(20)] == ["SignInRefused"] * 20


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
    ],
)
def test_an_address_is_what_one_client_can_vary(one: str, two: str, same: bool) -> None:
    assert (address_key(one) == address_key(two)) is same


def test_no_address_counts_against_none() -> None:
    assert address_key("") == ""


# A thousand wrong passwords


def test_a_thousand_wrong_passwords_lock_nobody_and_slow_nobody_else(tmp_path: Path) -> None:
    directory = LockingDirectory("ada", "bob", lock_after=5)
    k = kit(tmp_path, directory)
    mine = k.sign_in(k.enrol("ada"))
    for number in range(1000):
        wrong(k, "ada", f"198.51.100.{number % 7}")
        k.clock.forward(0.5)
    assert directory.wrong["ada"] <= k.settings.ldap.lockout_after < directory.lock_after
    # bob, from one of the addresses the flood came from, in a browser nobody knows: at once
    assert k.identity.sign_in_password("bob", PASSWORD, "198.51.100.1")
    # ada, in her own browser: at once
    assert k.identity.sign_in_password("ada", PASSWORD, "192.0.2.1", mine.known_browser)


def test_a_flood_that_waits_out_every_delay_locks_nobody_either(tmp_path: Path) -> None:
    directory = LockingDirectory("ada", lock_after=5)
    k = kit(tmp_path, directory)
    for _ in range(60):
        try:
            k.identity.sign_in_password("ada", "wrong", "192.0.2.66")
        except SignInRefused:
            continue
        except Throttled as error:
            k.clock.forward(error.retry_s + 1)
        if directory.wrong["ada"] and k.clock() - 1_800_000_000 > 1700:
            break
    assert directory.wrong["ada"] <= 3


def test_a_known_browser_keeps_a_share_of_the_budget(tmp_path: Path) -> None:
    directory = LockingDirectory("ada", lock_after=7)
    k = kit(tmp_path, directory, LDAP__LOCKOUT_AFTER="6")
    mine = k.sign_in(k.enrol("ada"))
    for _ in range(50):
        wrong(k, "ada")
        k.clock.forward(20)
    assert directory.wrong["ada"] == 4
    assert wrong(k, "ada", known_browser=mine.known_browser) == "SignInRefused"  # a slip of the hand
    assert k.identity.sign_in_password("ada", PASSWORD, "192.0.2.1", mine.known_browser)
    assert directory.wrong["ada"] == 0


def test_even_a_stolen_known_browser_cannot_lock(tmp_path: Path) -> None:
    directory = LockingDirectory("ada", lock_after=5)
    k = kit(tmp_path, directory)
    mine = k.sign_in(k.enrol("ada"))
    for number in range(200):
        wrong(k, "ada", known_browser=mine.known_browser if number % 2 else "")
        k.clock.forward(7)
    assert directory.wrong["ada"] <= k.settings.ldap.lockout_after


def test_a_browser_is_known_for_its_own_person_only(tmp_path: Path) -> None:
    k = kit(tmp_path)
    k.add("ada")
    k.add("bob")
    mine = k.sign_in(k.enrol("ada"))
    assert k.identity.attempt("ada", "192.0.2.1", mine.known_browser).known
    assert not k.identity.attempt("bob", "192.0.2.1", mine.known_browser).known
    assert not k.identity.attempt("ada", "192.0.2.1", "forged").known
    k.clock.forward(181 * 86400)
    assert not k.identity.attempt("ada", "192.0.2.1", mine.known_browser).known


def test_a_known_browser_has_a_delay_of_its_own(tmp_path: Path) -> None:
    k = kit(tmp_path)
    k.add()
    mine = k.sign_in(k.enrol())
    for _ in range(5):
        assert wrong(k, "ada", known_browser=mine.known_browser) == "SignInRefused"
    assert wrong(k, "ada", known_browser=mine.known_browser) == "Throttled"
    assert wrong(k, "ada") == "SignInRefused"  # and counts nothing against the account elsewhere


# What the directory is shown


def test_the_budget_lasts_for_a_whole_quiet_window(tmp_path: Path) -> None:
    clock = Clock()
    budget = PassedOn(database(tmp_path), most=3, window_s=100, known=True, clock=clock)
    for _ in range(3):
        budget.take("directory:ada")
        budget.settle("directory:ada", wrong=True)
        clock.forward(60)
    for _ in range(2):  # 60 s after the last one, not after the first
        with pytest.raises(Throttled):
            budget.take("directory:ada")
        clock.forward(20)
    clock.forward(10)
    budget.take("directory:ada")


def test_passwords_on_their_way_count(tmp_path: Path) -> None:
    budget = PassedOn(database(tmp_path), most=3, window_s=100, known=True, clock=Clock())
    for _ in range(3):
        budget.take("directory:ada")
    budget.settle("directory:ada", wrong=False)  # right; two others are not answered yet
    budget.take("directory:ada")
    with pytest.raises(Throttled):
        budget.take("directory:ada")


def test_a_budget_of_one_is_one(tmp_path: Path) -> None:
    stranger = PassedOn(database(tmp_path), most=1, window_s=100, known=False, clock=Clock())
    stranger.take("directory:ada")
    with pytest.raises(Throttled):
        stranger.take("directory:ada")


class AwayDirectory:
    """No server answers."""

    source = "ldap"

    def authenticate(self, name: str, password: str, budget: Budget) -> DirectoryPerson:
        raise DirectoryDown(1_800_000_000, "connection refused")

    def change_password(self, name: str, old: str, new: str, budget: Budget, *, expired_only: bool = False) -> None:
        raise DirectoryDown(1_800_000_000, "connection refused")


def test_a_directory_that_is_away_counts_against_nobody(tmp_path: Path) -> None:
    k = kit(tmp_path, AwayDirectory())
    for _ in range(100):
        with pytest.raises(DirectoryDown) as down:
            k.identity.sign_in_password("ada", PASSWORD, "192.0.2.1")
        assert down.value.since_s == 1_800_000_000
        assert "connection refused" not in str(down.value)


class ClosedDirectory(AwayDirectory):
    """The password is right, the group is not."""

    def authenticate(self, name: str, password: str, budget: Budget) -> DirectoryPerson:
        raise NotAllowedHere


def test_one_who_may_not_use_the_console_is_told_so_and_signs_in_to_nothing(tmp_path: Path) -> None:
    k = kit(tmp_path, ClosedDirectory())
    with pytest.raises(NotAllowedHere, match="may not use this console"):
        k.identity.sign_in_password("ada", PASSWORD)
    assert k.identity.people("console") == []


def test_what_decides_nothing_any_more_is_cleared_away(tmp_path: Path) -> None:
    k = kit(tmp_path)
    for number in range(5):
        wrong(k, f"person{number}")
    with k.db.read() as rows:
        assert rows.query(Throttle).count() == 6
    k.clock.forward(2 * 86400)
    k.identity.sweep()
    with k.db.read() as rows:
        assert rows.query(Throttle).count() == 0


def test_the_longest_name_has_a_key_that_every_database_takes(tmp_path: Path) -> None:
    k = kit(tmp_path)
    with pytest.raises(SignInRefused):
        k.identity.sign_in_password("\N{GREEK SMALL LETTER IOTA WITH DIALYTIKA AND TONOS}" * 128, "x")
    with k.db.read() as rows:
        assert max(len(row.key) for row in rows.query(Throttle)) <= 200  # three letters each, in small ones
