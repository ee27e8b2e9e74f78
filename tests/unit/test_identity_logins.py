"""Logins: known to the server, ended by it, seen everywhere within a second."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from backend.identity import (
    CodeRefused,
    NotAllowed,
    NotSignedIn,
    PasswordRefused,
    SignedIn,
    SignInRefused,
    Throttled,
    Viewer,
)
from tests.unit.identity_kit import PASSWORD, Kit, kit


def signed_in(tmp_path: Path, **environ: str) -> tuple[Kit, SignedIn, Viewer]:
    k = kit(tmp_path, **environ)
    k.add()
    login = k.sign_in(k.enrol())
    viewer = k.identity.viewer(login.cookie)
    assert viewer is not None
    return k, login, viewer


@pytest.mark.parametrize("cookie", ["", "nonsense", "a" * 10_000, "ä"])
def test_another_cookie_is_nobody(tmp_path: Path, cookie: str) -> None:
    k, _, _ = signed_in(tmp_path)
    assert k.identity.viewer(cookie) is None


def test_a_login_ends_without_input(tmp_path: Path) -> None:
    k, login, _ = signed_in(tmp_path)
    k.clock.forward(k.settings.login.idle_s - 1)
    assert k.identity.viewer(login.cookie) is not None
    k.clock.forward(2)
    assert k.identity.viewer(login.cookie) is None
    assert k.identity.sweep() == [login.login_id]
    assert ("console", "login.idle", "done") in k.audited()


def test_input_keeps_it_awake_in_every_process(tmp_path: Path) -> None:
    k, login, viewer = signed_in(tmp_path)
    other = kit(tmp_path)
    other.clock = other.identity.clock = k.clock  # type: ignore[assignment]
    other.identity.logins_kept._clock = k.clock
    for _ in range(4):
        k.clock.forward(k.settings.login.idle_s - 20)
        k.identity.touch(viewer.login_id)
        k.clock.forward(5)
        k.identity.touch(
            viewer.login_id
        )  # within the time between two writes: kept here, written by the sweep
        assert k.identity.sweep() == []
        assert other.identity.viewer(login.cookie) is not None
        assert other.identity.sweep() == []
    times = other.identity.times(viewer.login_id)
    assert times is not None
    assert times.idle_end_s == int(k.clock()) + k.settings.login.idle_s
    assert times.warn_s == times.idle_end_s - k.settings.login.warn_s


def test_input_wakes_nobody_who_has_gone(tmp_path: Path) -> None:
    k, login, viewer = signed_in(tmp_path)
    k.clock.forward(k.settings.login.idle_s + 1)
    other = kit(tmp_path)
    other.identity.logins_kept._clock = k.clock
    other.identity.touch(viewer.login_id)
    other.identity.logins_kept.flush()
    assert k.identity.viewer(login.cookie) is None


def test_a_login_ends_in_any_case(tmp_path: Path) -> None:
    k, login, viewer = signed_in(tmp_path)
    ends = k.clock() + k.settings.login.absolute_s
    while k.clock() < ends - 1000:
        k.clock.forward(900)
        k.identity.touch(viewer.login_id)
        assert k.identity.viewer(login.cookie) is not None
    k.clock.forward(1001)
    k.identity.touch(viewer.login_id)
    assert k.identity.viewer(login.cookie) is None
    assert k.identity.sweep() == [login.login_id]
    assert ("console", "login.expired", "done") in k.audited()


def test_signing_out_is_seen_at_once_here_and_within_a_second_elsewhere(tmp_path: Path) -> None:
    k, login, viewer = signed_in(tmp_path)
    other = kit(tmp_path)
    other.identity.logins_kept._clock = k.clock
    assert other.identity.viewer(login.cookie) is not None
    told: list[str] = []
    k.identity.on_end(told.append)
    k.identity.sign_out(login.cookie)
    assert k.identity.viewer(login.cookie) is None
    assert k.identity.viewer_of(viewer.login_id) is None
    assert told == [viewer.login_id]
    time.sleep(1.05)
    assert other.identity.viewer(login.cookie) is None
    assert viewer.login_id in {each.id for each in other.identity.ended_logins(k.clock() - 1)}
    assert other.identity.ended_among([viewer.login_id, "unknown"]) == {viewer.login_id, "unknown"}


def test_an_answer_read_before_a_revocation_is_not_kept_after_it(tmp_path: Path) -> None:
    """Readers at full speed while the login ends: from then on none is told that it holds."""
    k, login, _ = signed_in(tmp_path)
    stop, wrong = threading.Event(), []
    ended = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            was_ended = ended.is_set()
            if k.identity.viewer(login.cookie) is not None and was_ended:
                wrong.append(1)
            k.identity.logins_kept.forget("someone else's")  # keeps the answers from being warm

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    k.identity.sign_out(login.cookie)
    ended.set()
    time.sleep(0.2)
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong


def test_looking_up_a_warm_login_takes_microseconds(tmp_path: Path) -> None:
    k, login, _ = signed_in(tmp_path)
    k.identity.viewer(login.cookie)
    started = time.perf_counter()
    for _ in range(500):
        k.identity.viewer(login.cookie)
    assert (time.perf_counter() - started) / 500 < 0.001


def test_one_sees_and_revokes_ones_own_logins(tmp_path: Path) -> None:
    k, _, _ = signed_in(tmp_path)
    k.add("bob")
    totp = k.enrol("ada")
    one, two = k.sign_in(totp), k.sign_in(totp)
    bob = k.sign_in(k.enrol("bob"), "bob")
    viewer, bobs = k.identity.viewer(two.cookie), k.identity.viewer(bob.cookie)
    assert viewer is not None
    assert bobs is not None
    listed = k.identity.logins(viewer)
    assert [each.current for each in listed] == [True, False, False]
    assert listed[0].address == "192.0.2.1"
    assert k.identity.revoke(viewer, one.login_id)
    assert k.identity.viewer(one.cookie) is None
    assert not k.identity.revoke(viewer, one.login_id)
    with pytest.raises(NotAllowed):
        k.identity.revoke(viewer, bob.login_id)
    assert k.identity.viewer(bob.cookie) == bobs


def test_an_admin_may_revoke_anyones(tmp_path: Path) -> None:
    k, login, _ = signed_in(tmp_path)
    k.add("eve", roles=("admin",))
    eve = k.identity.viewer(k.sign_in(k.enrol("eve"), "eve").cookie)
    assert eve is not None
    assert k.identity.revoke(eve, login.login_id)
    assert k.identity.viewer(login.cookie) is None


def test_signing_out_everywhere_ends_all_and_forgets_the_browsers(tmp_path: Path) -> None:
    k, first, viewer = signed_in(tmp_path)
    second = k.sign_in(k.enrol())
    ended = k.identity.sign_out_everywhere(viewer.name)
    assert set(ended) >= {first.login_id, second.login_id}
    assert k.identity.viewer(first.cookie) is None
    assert k.identity.viewer(second.cookie) is None
    assert not k.identity.attempt("ada", "192.0.2.1", first.known_browser).known


def test_signing_out_half_way_ends_the_half_login(tmp_path: Path) -> None:
    k, _, _ = signed_in(tmp_path)
    pending = k.identity.sign_in_password("ada", PASSWORD)
    k.identity.sign_out(pending.cookie)
    assert k.identity.pending(pending.cookie) is None
    k.identity.sign_out("nonsense")


def test_locking_ends_every_login_and_the_next_sign_in(tmp_path: Path) -> None:
    k, login, _ = signed_in(tmp_path)
    k.identity.lock_person("console", "ada")
    assert k.identity.viewer(login.cookie) is None
    with pytest.raises(SignInRefused):
        k.identity.sign_in_password("ada", PASSWORD)
    k.identity.unlock_person("console", "ada")
    k.clock.forward(60)
    assert k.identity.sign_in_password("ada", PASSWORD)


def test_a_role_given_or_taken_is_seen_at_once(tmp_path: Path) -> None:
    k, login, _ = signed_in(tmp_path)
    k.identity.set_roles("console", "ada", ["admin"])
    assert k.identity.viewer(login.cookie).roles == {"user", "admin"}  # type: ignore[union-attr]
    k.identity.set_roles("console", "ada", [])
    assert k.identity.viewer(login.cookie).roles == {"user"}  # type: ignore[union-attr]


def test_a_coordinator_is_one_by_slurms_accounts(tmp_path: Path) -> None:
    k, login, _ = signed_in(tmp_path)
    k.identity.coordinates_by(lambda name: frozenset({"astro"}) if name == "ada" else frozenset())
    k.identity.logins_kept.forget_person("ada")
    viewer = k.identity.viewer(login.cookie)
    assert viewer is not None
    assert viewer.coordinates == {"astro"}
    assert "coordinator" in viewer.roles


def test_a_person_has_at_most_fifty_logins(tmp_path: Path) -> None:
    k = kit(tmp_path, LOGIN__SECOND_FACTOR="off")
    k.add()
    cookies = []
    for _ in range(52):
        k.clock.forward(1)
        cookies.append(k.identity.sign_in_password("ada", PASSWORD).cookie)
    alive = [k.identity.viewer(cookie) is not None for cookie in cookies]
    assert alive == [False] * 2 + [True] * 50


def test_what_ended_long_ago_is_cleared_away(tmp_path: Path) -> None:
    k, login, viewer = signed_in(tmp_path)
    k.identity.sign_out(login.cookie)
    k.clock.forward(8 * 86400)
    k.identity.sweep()
    assert k.identity.ended_logins(0) == []
    assert k.identity.ended_among([viewer.login_id]) == {viewer.login_id}


# Proving it again


def test_proving_again_keeps_the_login_under_a_new_cookie(tmp_path: Path) -> None:
    k = kit(tmp_path)
    k.add()
    totp = k.enrol()
    login = k.sign_in(totp)
    k.clock.forward(k.settings.login.fresh_s + 30)
    before = k.identity.viewer(login.cookie)
    assert before is not None
    assert not before.fresh
    again = k.identity.prove_again(login.cookie, PASSWORD, k.code(totp))
    assert again.login_id == login.login_id
    assert k.identity.viewer(login.cookie) is None
    after = k.identity.viewer(again.cookie)
    assert after is not None
    assert after.fresh
    times = k.identity.times(login.login_id)
    assert times is not None
    assert times.end_s == int(k.clock()) + k.settings.login.absolute_s


def test_proving_again_needs_password_and_code(tmp_path: Path) -> None:
    k = kit(tmp_path)
    k.add()
    totp = k.enrol()
    login = k.sign_in(totp)
    with pytest.raises(SignInRefused):
        k.identity.prove_again(login.cookie, "wrong", k.code(totp))
    with pytest.raises(CodeRefused):
        k.identity.prove_again(login.cookie, PASSWORD, k.code(totp))  # used at sign-in
    with pytest.raises(NotSignedIn):
        k.identity.prove_again("nonsense", PASSWORD, k.code(totp))
    assert k.identity.viewer(login.cookie) is not None


def test_guessing_in_an_open_login_is_slowed_too(tmp_path: Path) -> None:
    k = kit(tmp_path)
    k.add()
    login = k.sign_in(k.enrol())
    for _ in range(k.settings.login.throttle_after):
        with pytest.raises(SignInRefused):
            k.identity.prove_again(login.cookie, "wrong", "000000")
    with pytest.raises(Throttled):
        k.identity.prove_again(login.cookie, PASSWORD, "000000")


# CSRF


def test_a_csrf_token_is_of_one_login(tmp_path: Path) -> None:
    k, login, _ = signed_in(tmp_path)
    token = k.identity.csrf_token(login.login_id)
    assert k.identity.check_csrf(login.login_id, token)
    for wrong in ("", "ä", token[:-1], k.identity.csrf_token("another")):
        assert not k.identity.check_csrf(login.login_id, wrong)


# Passwords


def test_changing_the_password_needs_the_old_one_and_ends_other_logins(tmp_path: Path) -> None:
    k = kit(tmp_path)
    k.add()
    totp = k.enrol()
    other, mine = k.sign_in(totp), k.sign_in(totp)
    with pytest.raises(SignInRefused):
        k.identity.change_password(mine.cookie, "wrong", "a new password, longer")
    with pytest.raises(PasswordRefused):
        k.identity.change_password(mine.cookie, PASSWORD, "short")
    k.identity.change_password(mine.cookie, PASSWORD, "a new password, longer")
    assert k.identity.viewer(mine.cookie) is not None
    assert k.identity.viewer(other.cookie) is None
    with pytest.raises(SignInRefused):
        k.identity.sign_in_password("ada", PASSWORD)
    assert k.identity.sign_in_password("ada", "a new password, longer")


@pytest.mark.parametrize(
    "new", ["short", "x" * 1001, "ada", "adaadaada1", "aaaaaaaaaaaa", "with a \x00 in it"]
)
def test_a_poor_password_is_refused_with_the_reason(tmp_path: Path, new: str) -> None:
    k = kit(tmp_path)
    with pytest.raises(PasswordRefused, match="password"):
        k.add(password=new)
    assert k.identity.people("console") == []


def test_a_password_may_be_any_text(tmp_path: Path) -> None:
    k = kit(tmp_path, LOGIN__SECOND_FACTOR="off")
    for number, password in enumerate(
        [" leading and trailing ", "пароль из букв ✓", '"; DROP TABLE persons; --']
    ):
        k.add(f"p{number}", password=password)
        assert k.identity.sign_in_password(f"p{number}", password)


def test_only_so_many_argon2_run_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    k = kit(tmp_path, LOGIN__ARGON2_AT_ONCE="2")
    directory = k.identity.directory
    running, most, lock = [0], [0], threading.Lock()

    class Slow:
        def verify(self, _stored: str, _password: str) -> bool:
            with lock:
                running[0] += 1
                most[0] = max(most[0], running[0])
            time.sleep(0.02)
            with lock:
                running[0] -= 1
            return True

    monkeypatch.setattr(directory, "_hasher", Slow())
    threads = [threading.Thread(target=directory._verify, args=(None, "x")) for _ in range(12)]  # type: ignore[attr-defined]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 2
