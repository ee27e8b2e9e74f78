"""Signing in: two steps, nothing between them, and refusals that tell nothing."""

from __future__ import annotations

from pathlib import Path

import pyotp
import pytest

from backend.identity import (
    CodeRefused,
    EnrolmentCodeRefused,
    NoEnrolment,
    NotFresh,
    NotSignedIn,
    PasswordRefused,
    PersonRefused,
    SetupRefused,
    SignInRefused,
    Throttled,
    TooManyTries,
)
from backend.store.models import Factor, Login, RecoveryCode
from tests.unit.identity_kit import PASSWORD, LockingDirectory, kit


def secret_of(text: str) -> pyotp.TOTP:
    return pyotp.TOTP(text.replace(" ", ""))


# Step one


def test_a_password_alone_opens_nothing(tmp_path: Path) -> None:
    k = kit(tmp_path)
    k.add()
    k.enrol()
    pending = k.identity.sign_in_password("ada", PASSWORD)
    assert pending.needs == "code"
    assert k.identity.viewer(pending.cookie) is None
    assert k.identity.viewer_of(pending.login_id) is None
    half = k.identity.pending(pending.cookie)
    assert half is not None
    assert (half.name, half.needs) == ("ada", "code")


def test_password_and_code_sign_in_under_another_id_and_cookie(tmp_path: Path) -> None:
    k = kit(tmp_path)
    k.add(roles=("operator",))
    totp = k.enrol()
    pending = k.identity.sign_in_password("ada", PASSWORD, "192.0.2.7", user_agent="Firefox")
    login = k.identity.sign_in_code(pending.cookie, k.code(totp), address="192.0.2.7")
    assert login.cookie != pending.cookie
    assert login.login_id != pending.login_id
    viewer = k.identity.viewer(login.cookie)
    assert viewer is not None
    assert (viewer.name, viewer.roles, viewer.fresh) == ("ada", {"user", "operator"}, True)
    assert k.identity.pending(pending.cookie) is None
    assert k.identity.pending(login.cookie) is None
    with pytest.raises(NotSignedIn):
        k.identity.sign_in_code(pending.cookie, k.code(totp))


def test_the_database_holds_neither_cookie_nor_secret(tmp_path: Path) -> None:
    k = kit(tmp_path)
    k.add()
    totp = k.enrol()
    login = k.sign_in(totp)
    k.db.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("carme.db*"))
    for hidden in (login.cookie, login.known_browser, totp.secret, PASSWORD):
        assert hidden.encode() not in stored


def test_a_password_alone_changes_no_password_that_still_holds(tmp_path: Path) -> None:
    k = kit(tmp_path)
    k.add()
    k.enrol()
    with pytest.raises(PasswordRefused):
        k.identity.change_expired_password("ada", PASSWORD, "a thief's own choice")
    with pytest.raises(SignInRefused):
        k.identity.change_expired_password("ada", "wrong", "a thief's own choice")
    with pytest.raises(SignInRefused):
        k.identity.sign_in_password("ada", "a thief's own choice")
    assert k.identity.sign_in_password("ada", PASSWORD).needs == "code"


@pytest.mark.parametrize("second_factor", ["optional", "off"])
def test_a_site_may_do_without_the_second_step(tmp_path: Path, second_factor: str) -> None:
    k = kit(tmp_path, LOGIN__SECOND_FACTOR=second_factor)
    k.add()
    pending = k.identity.sign_in_password("ada", PASSWORD)
    assert pending.needs == "none"
    assert pending.known_browser
    assert k.identity.viewer(pending.cookie) is not None


def test_where_it_is_optional_one_who_has_a_factor_shows_it(tmp_path: Path) -> None:
    k = kit(tmp_path, LOGIN__SECOND_FACTOR="optional")
    k.add()
    k.enrol()
    assert k.identity.sign_in_password("ada", PASSWORD).needs == "code"


def test_wrong_user_wrong_password_and_locked_are_refused_alike(tmp_path: Path) -> None:
    k = kit(tmp_path)
    k.add("ada")
    k.add("bob")
    k.identity.lock_person("console", "bob")
    words = set()
    for name, password in (("nobody", PASSWORD), ("ada", "wrong"), ("bob", PASSWORD), ("ada", ""), ("", "x")):
        with pytest.raises(SignInRefused) as refused:
            k.identity.sign_in_password(name, password)
        words.add((type(refused.value), str(refused.value)))
    assert len(words) == 1


def test_refusals_are_held_back_to_one_moment(tmp_path: Path) -> None:
    k = kit(tmp_path)
    k.add("ada")
    for name in ("ada", "nobody"):
        with pytest.raises(SignInRefused):
            k.identity.sign_in_password(name, "wrong")
    assert len(k.slept) == 2
    assert all(0.3 < seconds <= 0.5 for seconds in k.slept)


def test_an_unknown_person_costs_one_verification_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    k = kit(tmp_path)
    k.add("ada")
    directory = k.identity.directory
    seen: list[str] = []
    verify = directory._hasher.verify  # type: ignore[attr-defined]

    class Watching:
        def verify(self, stored: str, password: str) -> bool:
            seen.append(password)
            return bool(verify(stored, password))

    monkeypatch.setattr(directory, "_hasher", Watching())
    for name in ("ada", "nobody"):
        with pytest.raises(SignInRefused):
            k.identity.sign_in_password(name, "wrong")
    assert seen == ["wrong", "wrong"]


@pytest.mark.parametrize("name", ["a" * 200, "ada\x00", "ada\n", "\u202eada", "   "])
def test_what_nobody_is_called_is_refused_without_asking(tmp_path: Path, name: str) -> None:
    directory = LockingDirectory("ada")
    k = kit(tmp_path, directory)
    if name == "ada\n":  # white space at the ends is a slip of the hand
        assert k.identity.sign_in_password(name, PASSWORD).name == "ada"
        return
    with pytest.raises(SignInRefused):
        k.identity.sign_in_password(name, PASSWORD)
    assert not directory.wrong


def test_a_very_long_password_is_wrong_and_reaches_no_directory(tmp_path: Path) -> None:
    directory = LockingDirectory("ada")
    k = kit(tmp_path, directory)
    with pytest.raises(SignInRefused):
        k.identity.sign_in_password("ada", "x" * 5000)
    assert not directory.wrong


def test_the_directorys_person_is_remembered_with_its_roles(tmp_path: Path) -> None:
    directory = LockingDirectory("ada")
    directory.roles = frozenset({"admin"})
    k = kit(tmp_path, directory, LOGIN__SECOND_FACTOR="off")
    viewer = k.identity.viewer(k.identity.sign_in_password("ADA", PASSWORD).cookie)
    assert viewer is not None
    assert (viewer.name, viewer.uid, viewer.mail) == ("ada", 42001, "ADA@example.org")
    assert viewer.roles == {"user", "admin"}


def test_a_name_from_another_source_is_another_person(tmp_path: Path) -> None:
    k = kit(tmp_path)
    k.add("ada", roles=("admin",))
    k.enrol("ada")
    later = kit(tmp_path, LockingDirectory("ada"))
    pending = later.identity.sign_in_password("ada", PASSWORD)
    assert pending.needs == "enrol"
    listed = later.identity.people("console")[0]
    assert (listed.source, listed.roles, listed.has_factor) == ("ldap", (), False)


# Step two


def test_wrong_reused_and_old_codes_are_refused_alike(tmp_path: Path) -> None:
    k = kit(tmp_path)
    k.add()
    totp = k.enrol()
    k.sign_in(totp)
    used = k.code(totp)
    old = totp.at(int(k.clock()) - 90)
    wrong = f"{(int(used) + 1) % 1000000:06d}"
    words = set()
    for code in (used, old, wrong, "", "12345", "abcdef", "1234567", "１２３４５６"):
        pending = k.identity.sign_in_password("ada", PASSWORD)
        with pytest.raises(CodeRefused) as refused:
            k.identity.sign_in_code(pending.cookie, code)
        words.add(str(refused.value))
        k.clock.forward(400)
        totp_window_is_over = k.clock()
        assert totp_window_is_over
    assert len(words) == 1


@pytest.mark.parametrize(("steps", "good"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_a_clock_may_be_one_step_off(tmp_path: Path, steps: int, good: bool) -> None:
    k = kit(tmp_path)
    k.add()
    totp = k.enrol()
    code = totp.at(int(k.clock()) + 30 * steps)
    pending = k.identity.sign_in_password("ada", PASSWORD)
    if good:
        assert k.identity.sign_in_code(pending.cookie, code)
    else:
        with pytest.raises(CodeRefused):
            k.identity.sign_in_code(pending.cookie, code)


def test_after_a_later_code_an_earlier_one_is_void(tmp_path: Path) -> None:
    k = kit(tmp_path)
    k.add()
    totp = k.enrol()
    k.identity.sign_in_code(k.identity.sign_in_password("ada", PASSWORD).cookie, totp.at(int(k.clock()) + 30))
    with pytest.raises(CodeRefused):
        k.identity.sign_in_code(k.identity.sign_in_password("ada", PASSWORD).cookie, k.code(totp))


def test_five_wrong_codes_start_over(tmp_path: Path) -> None:
    k = kit(tmp_path, LOGIN__THROTTLE_AFTER="100")
    k.add()
    totp = k.enrol()
    pending = k.identity.sign_in_password("ada", PASSWORD)
    for _ in range(4):
        with pytest.raises(CodeRefused):
            k.identity.sign_in_code(pending.cookie, "000000")
    with pytest.raises(TooManyTries):
        k.identity.sign_in_code(pending.cookie, "000000")
    with pytest.raises(NotSignedIn):
        k.identity.sign_in_code(pending.cookie, k.code(totp))


def test_starting_over_gives_no_more_guesses_than_the_throttle_lets_through(tmp_path: Path) -> None:
    k = kit(tmp_path)
    k.add()
    k.enrol()
    tried = 0
    for _ in range(200):
        try:
            pending = k.identity.sign_in_password("ada", PASSWORD)
            for _ in range(4):
                k.identity.sign_in_code(pending.cookie, "000000")
        except CodeRefused:
            tried += 1
        except Throttled:
            pass
        k.clock.forward(10)
    assert tried < 20  # in more than half an hour


def test_a_code_is_for_one_person(tmp_path: Path) -> None:
    k = kit(tmp_path)
    k.add("ada")
    k.add("bob")
    k.enrol("ada")
    bobs = k.enrol("bob")
    pending = k.identity.sign_in_password("ada", PASSWORD)
    with pytest.raises(CodeRefused):
        k.identity.sign_in_code(pending.cookie, k.code(bobs))


def test_half_a_login_lasts_a_quarter_of_an_hour(tmp_path: Path) -> None:
    k = kit(tmp_path)
    k.add()
    totp = k.enrol()
    pending = k.identity.sign_in_password("ada", PASSWORD)
    k.clock.forward(901)
    assert k.identity.pending(pending.cookie) is None
    with pytest.raises(NotSignedIn):
        k.identity.sign_in_code(pending.cookie, k.code(totp))


# Recovery codes


def test_each_recovery_code_works_once_however_it_is_typed(tmp_path: Path) -> None:
    k = kit(tmp_path)
    k.add()
    first = k.identity.sign_in_password("ada", PASSWORD)
    totp = secret_of(k.identity.begin_enrolment(first.cookie).secret_text)
    confirmed = k.identity.confirm_enrolment(first.cookie, k.code(totp))
    codes = confirmed.recovery_codes
    assert len(set(codes)) == 10
    viewer = k.identity.viewer(confirmed.login.cookie)
    assert viewer is not None
    for number, code in enumerate(codes):
        typed = code.upper().replace("-", " ") if number % 2 else code
        pending = k.identity.sign_in_password("ada", PASSWORD)
        assert k.identity.sign_in_code(pending.cookie, typed, recovery=bool(number % 3))
        again = k.identity.sign_in_password("ada", PASSWORD)
        with pytest.raises(CodeRefused):
            k.identity.sign_in_code(again.cookie, typed)
    factor = k.identity.factor(viewer)
    assert factor is not None
    assert factor.recovery_codes_left == 0


def test_recovery_codes_are_stored_hashed_and_per_person(tmp_path: Path) -> None:
    k = kit(tmp_path)
    k.add("ada")
    k.add("bob")
    k.enrol("bob")
    first = k.identity.sign_in_password("ada", PASSWORD)
    totp = secret_of(k.identity.begin_enrolment(first.cookie).secret_text)
    codes = k.identity.confirm_enrolment(first.cookie, k.code(totp)).recovery_codes
    with k.db.read() as rows:
        digests = {row.digest for row in rows.query(RecoveryCode)}
    assert not digests & {code.replace("-", "").upper() for code in codes}
    pending = k.identity.sign_in_password("bob", PASSWORD)
    with pytest.raises(CodeRefused):
        k.identity.sign_in_code(pending.cookie, codes[0])


def test_new_recovery_codes_void_the_old_and_need_a_fresh_sign_in(tmp_path: Path) -> None:
    k = kit(tmp_path)
    k.add()
    login = k.sign_in(k.enrol())
    old = k.identity.new_recovery_codes(login.cookie)
    new = k.identity.new_recovery_codes(login.cookie)
    assert not set(old) & set(new)
    pending = k.identity.sign_in_password("ada", PASSWORD)
    with pytest.raises(CodeRefused):
        k.identity.sign_in_code(pending.cookie, old[0])
    k.clock.forward(k.settings.login.fresh_s + 1)
    with pytest.raises(NotFresh):
        k.identity.new_recovery_codes(login.cookie)


# Enrolment


def test_the_first_enrolment_is_part_of_signing_in(tmp_path: Path) -> None:
    k = kit(tmp_path)
    k.add()
    pending = k.identity.sign_in_password("ada", PASSWORD)
    assert pending.needs == "enrol"
    shown = k.identity.begin_enrolment(pending.cookie)
    assert shown == k.identity.begin_enrolment(pending.cookie)  # a reload shows what was scanned
    secret = shown.secret_text.replace(" ", "")
    assert len(secret) == 32
    assert f"secret={secret}" in shown.uri
    assert shown.uri.startswith("otpauth://totp/Carme:ada?")
    assert shown.qr_svg.startswith("<svg")
    assert "<script" not in shown.qr_svg
    with pytest.raises(CodeRefused):
        k.identity.confirm_enrolment(pending.cookie, "000000")
    confirmed = k.identity.confirm_enrolment(pending.cookie, k.code(pyotp.TOTP(secret)))
    assert k.identity.viewer(confirmed.login.cookie) is not None
    assert k.identity.pending(pending.cookie) is None


def test_the_code_that_confirms_is_used_up(tmp_path: Path) -> None:
    k = kit(tmp_path)
    k.add()
    pending = k.identity.sign_in_password("ada", PASSWORD)
    totp = secret_of(k.identity.begin_enrolment(pending.cookie).secret_text)
    k.identity.confirm_enrolment(pending.cookie, k.code(totp))
    again = k.identity.sign_in_password("ada", PASSWORD)
    with pytest.raises(CodeRefused):
        k.identity.sign_in_code(again.cookie, k.code(totp))


def test_one_with_only_the_password_cannot_replace_the_factor(tmp_path: Path) -> None:
    k = kit(tmp_path)
    k.add()
    racing = k.identity.sign_in_password("ada", PASSWORD)  # begun before there was a factor
    totp = secret_of(k.identity.begin_enrolment(racing.cookie).secret_text)
    k.enrol()
    with pytest.raises(NoEnrolment):
        k.identity.confirm_enrolment(racing.cookie, k.code(totp))
    pending = k.identity.sign_in_password("ada", PASSWORD)
    with pytest.raises(NoEnrolment):
        k.identity.begin_enrolment(pending.cookie)
    with pytest.raises(NoEnrolment):
        k.identity.confirm_enrolment(pending.cookie, "000000")


def test_nobody_enrols_without_a_login(tmp_path: Path) -> None:
    k = kit(tmp_path)
    for cookie in ("", "nonsense"):
        with pytest.raises(NotSignedIn):
            k.identity.begin_enrolment(cookie)
        with pytest.raises(NotSignedIn):
            k.identity.confirm_enrolment(cookie, "000000")


def test_a_site_may_ask_for_an_admins_code_first(tmp_path: Path) -> None:
    k = kit(tmp_path, LOGIN__ENROLMENT_CODE="true")
    k.add("ada")
    k.add("bob")
    pending = k.identity.sign_in_password("ada", PASSWORD)
    assert pending.needs == "enrol+code"
    bobs = k.identity.enrolment_code("console", "bob")
    for wrong in ("", "0000-0000-0000-0000", bobs):
        with pytest.raises(EnrolmentCodeRefused):
            k.identity.begin_enrolment(pending.cookie, wrong)
    with pytest.raises(NoEnrolment):
        k.identity.confirm_enrolment(pending.cookie, "000000")
    code = k.identity.enrolment_code("console", "ada")
    shown = k.identity.begin_enrolment(pending.cookie, code.upper())
    assert k.identity.begin_enrolment(pending.cookie) == shown
    assert k.identity.confirm_enrolment(pending.cookie, k.code(secret_of(shown.secret_text)))
    k.identity.reset_factor("console", "ada")
    again = k.identity.sign_in_password("ada", PASSWORD)
    with pytest.raises(EnrolmentCodeRefused):
        k.identity.begin_enrolment(again.cookie, code)


def test_guessing_an_admins_code_ends_the_login(tmp_path: Path) -> None:
    k = kit(tmp_path, LOGIN__ENROLMENT_CODE="true")
    k.add()
    pending = k.identity.sign_in_password("ada", PASSWORD)
    for _ in range(4):
        with pytest.raises(EnrolmentCodeRefused):
            k.identity.begin_enrolment(pending.cookie, "guess")
    with pytest.raises(TooManyTries):
        k.identity.begin_enrolment(pending.cookie, "guess")
    assert k.identity.pending(pending.cookie) is None


def test_changing_the_factor_needs_a_fresh_sign_in_and_ends_other_logins(tmp_path: Path) -> None:
    k = kit(tmp_path)
    k.add()
    totp = k.enrol()
    other, mine = k.sign_in(totp), k.sign_in(totp)
    k.clock.forward(k.settings.login.fresh_s + 1)
    with pytest.raises(NotFresh):
        k.identity.begin_enrolment(mine.cookie)
    mine = k.identity.prove_again(mine.cookie, PASSWORD, k.code(totp))
    fresh = secret_of(k.identity.begin_enrolment(mine.cookie).secret_text)
    k.clock.forward(k.settings.login.fresh_s + 1)
    with pytest.raises(NotFresh):
        k.identity.confirm_enrolment(mine.cookie, k.code(fresh))
    mine = k.identity.prove_again(mine.cookie, PASSWORD, k.code(totp))
    confirmed = k.identity.confirm_enrolment(mine.cookie, k.code(fresh))
    assert confirmed.login.cookie != mine.cookie
    assert k.identity.viewer(mine.cookie) is None
    assert k.identity.viewer(other.cookie) is None
    assert k.identity.viewer(confirmed.login.cookie) is not None
    k.clock.forward(30)
    pending = k.identity.sign_in_password("ada", PASSWORD)
    with pytest.raises(CodeRefused):
        k.identity.sign_in_code(pending.cookie, k.code(totp))
    assert k.identity.sign_in_code(pending.cookie, k.code(fresh))


def test_a_stored_factor_is_useless_for_another_person(tmp_path: Path) -> None:
    """Whoever can write the database but has no key gains nothing by copying rows."""
    k = kit(tmp_path)
    k.add("ada")
    k.add("bob")
    k.enrol("ada")
    totp = k.enrol("bob")
    with k.db.begin() as rows:
        rows.get_one(Factor, "ada").secret = rows.get_one(Factor, "bob").secret
    pending = k.identity.sign_in_password("ada", PASSWORD)
    with pytest.raises(Exception, match="another key"):
        k.identity.sign_in_code(pending.cookie, k.code(totp))
    assert k.identity.viewer(pending.cookie) is None


# First start


def test_the_set_up_link_makes_the_first_admin_once(tmp_path: Path) -> None:
    k = kit(tmp_path, LOGIN__ENROLMENT_CODE="true")
    assert k.identity.needs_setup()
    void, link = k.identity.setup_link(), k.identity.setup_link()
    assert void is not None
    assert link is not None
    assert link.startswith("http://localhost:5006/setup?token=")
    token = link.rpartition("=")[2]
    assert not k.identity.setup_link_good(void.rpartition("=")[2])
    assert k.identity.setup_link_good(token)
    with pytest.raises(PersonRefused):
        k.identity.set_up(token, "Not A Name", PASSWORD)
    pending = k.identity.set_up(token, "ada", PASSWORD)
    assert pending.needs == "enrol"  # there is no admin yet who could give a code
    totp = secret_of(k.identity.begin_enrolment(pending.cookie).secret_text)
    viewer = k.identity.viewer(k.identity.confirm_enrolment(pending.cookie, k.code(totp)).login.cookie)
    assert viewer is not None
    assert "admin" in viewer.roles
    assert not k.identity.needs_setup()
    assert k.identity.setup_link() is None
    with pytest.raises(SetupRefused):
        k.identity.set_up(token, "eve", PASSWORD)


@pytest.mark.parametrize("token", ["", "nonsense"])
def test_a_wrong_set_up_link_makes_nobody(tmp_path: Path, token: str) -> None:
    k = kit(tmp_path)
    k.identity.setup_link()
    with pytest.raises(SetupRefused):
        k.identity.set_up(token, "eve", PASSWORD)
    assert k.identity.needs_setup()


def test_an_old_set_up_link_is_void(tmp_path: Path) -> None:
    k = kit(tmp_path)
    link = k.identity.setup_link()
    assert link is not None
    k.clock.forward(24 * 3600 + 1)
    with pytest.raises(SetupRefused):
        k.identity.set_up(link.rpartition("=")[2], "ada", PASSWORD)


def test_a_directorys_site_has_nothing_to_set_up(tmp_path: Path) -> None:
    k = kit(tmp_path, LockingDirectory("ada"))
    assert not k.identity.needs_setup()
    assert k.identity.setup_link() is None


# The audit


def test_every_change_leaves_a_line(tmp_path: Path) -> None:
    k = kit(tmp_path)
    k.add()
    totp = k.enrol()
    login = k.sign_in(totp)
    with pytest.raises(SignInRefused):
        k.identity.sign_in_password("ada", "wrong")
    k.identity.new_recovery_codes(login.cookie)
    k.identity.sign_out(login.cookie)
    k.identity.lock_person("console", "ada")
    assert k.audited() == [
        ("console", "person.add", "done"),
        ("console", "factor.enrol-directly", "done"),
        ("ada", "login.password", "done"),
        ("ada", "login.begin", "done"),
        ("ada", "login.password", "refused"),
        ("ada", "factor.recovery-codes", "done"),
        ("ada", "login.sign-out", "done"),
        ("console", "person.lock", "done"),
    ]
    with k.db.read() as rows:
        assert rows.query(Login).count() == 2
