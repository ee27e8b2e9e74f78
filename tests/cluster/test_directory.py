"""People of a real slapd: TLS that is checked, ppolicy that is never provoked, groups inside groups."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backend.identity import (
    DirectoryDown,
    Identity,
    NotAllowedHere,
    PasswordExpired,
    PasswordRefused,
    SignInRefused,
    Throttled,
)
from backend.identity.directories import LdapDirectory
from backend.store import Database, SecretBox
from config import load_settings
from tests.harness import Cluster
from tests.harness.directory import EXPIRING_POLICY

MakeIdentity = Callable[..., Identity]
LONG_PASSWORD = "another-long-password-1"


@pytest.fixture
def make(quiet_cluster: Cluster, tmp_path: Path) -> Iterator[MakeIdentity]:
    """`make(**ldap_settings)`: an identity of its own database on the cluster's directory, without second
    factor."""
    cluster, made = quiet_cluster, []

    def build(**changed: str) -> Identity:
        ldap = {
            "servers": cluster.ldap_uri,
            "ca_file": str(cluster.ldap_ca),
            "bind_dn": cluster.ldap_bind_dn,
            "bind_password": cluster.ldap_bind_password,
            "base_dn": cluster.ldap_base,
            "timeout_s": "2",
            **changed,
        }
        folder = tmp_path / str(len(made))
        environ = {
            "CARME_DATA": str(folder),
            "CARME_DIRECTORY__KIND": "ldap",
            "CARME_LOGIN__SECOND_FACTOR": "off",
        }
        environ |= {f"CARME_LDAP__{key.upper()}": value for key, value in ldap.items()}
        settings = load_settings(None, environ)
        db = Database(settings.store.url)
        db.upgrade()
        made.append(Identity(settings, db, SecretBox(folder), sleep=lambda _seconds: None))
        return made[-1]

    yield build
    for identity in made:
        identity.close()
        identity.db.close()
    for name in cluster.people:
        cluster.unlock(name)


def roles(identity: Identity, cluster: Cluster, name: str) -> set[str]:
    pending = identity.sign_in_password(name, cluster.people[name].password)
    viewer = identity.viewer(pending.cookie)
    assert viewer is not None
    return set(viewer.roles) - {"user"}


def refused(identity: Identity, name: str, password: str) -> str:
    with pytest.raises(SignInRefused) as error:
        identity.sign_in_password(name, password)
    return str(error.value)


# Who it is


@pytest.mark.parametrize("tls", ["starttls", "ldaps"])
def test_a_person_signs_in_with_name_uid_and_mail(make: MakeIdentity, cluster: Cluster, tls: str) -> None:
    uri = cluster.ldaps_uri if tls == "ldaps" else cluster.ldap_uri
    identity = make(tls=tls, servers=uri)
    viewer = identity.viewer(identity.sign_in_password("ada", cluster.people["ada"].password).cookie)
    assert viewer is not None
    person = cluster.people["ada"]
    assert (viewer.name, viewer.uid, viewer.mail) == ("ada", person.uid, person.mail)
    assert viewer.display_name == person.display_name


def test_a_direct_bind_needs_no_service_account(make: MakeIdentity, cluster: Cluster) -> None:
    identity = make(
        bind="direct",
        bind_dn="",
        bind_password="",
        user_dn_template=f"uid={{name}},ou=people,{cluster.ldap_base}",
    )
    assert roles(identity, cluster, "eve") == {"admin"}
    refused(identity, "eve", "wrong-password")
    refused(identity, "nobody", "wrong-password")


def test_a_direct_bind_is_not_led_to_another_entry(make: MakeIdentity, cluster: Cluster) -> None:
    """The filter finds bob for whoever asks; the password shown was ada's."""
    identity = make(
        bind="direct",
        bind_dn="",
        bind_password="",
        user_dn_template=f"uid={{name}},ou=people,{cluster.ldap_base}",
        user_filter="(&(uid=bob)(!(cn={name})))",
    )
    with pytest.raises(NotAllowedHere):
        identity.sign_in_password("ada", cluster.people["ada"].password)


def test_capitals_make_no_other_person(make: MakeIdentity, cluster: Cluster) -> None:
    assert make().sign_in_password("ADA", cluster.people["ada"].password).name == "ada"


# Groups


def test_groups_give_roles_nested_ones_too(make: MakeIdentity, cluster: Cluster) -> None:
    identity = make()
    found = {name: roles(identity, cluster, name) for name in ("ada", "dora", "eve")}
    assert found == {"ada": set(), "dora": {"operator"}, "eve": {"admin"}}  # eve: carme-admins by way of crew


def test_nesting_can_be_turned_off(make: MakeIdentity, cluster: Cluster) -> None:
    assert roles(make(nested_groups="false"), cluster, "eve") == set()


def test_a_group_may_be_named_by_its_distinguished_name(make: MakeIdentity, cluster: Cluster) -> None:
    wanted = f"CN=carme-admins, ou=Groups,{cluster.ldap_base}"
    assert roles(make(roles=f'{{ admin = ["{wanted}"] }}'), cluster, "eve") == {"admin"}
    elsewhere = f"cn=carme-admins,ou=elsewhere,{cluster.ldap_base}"
    assert roles(make(roles=f'{{ admin = ["{elsewhere}"] }}'), cluster, "eve") == set()


def test_groups_in_a_circle_come_to_an_end(make: MakeIdentity, cluster: Cluster) -> None:
    base = cluster.ldap_base
    crew = f"dn: cn=crew,ou=groups,{base}\nchangetype: modify\n"
    circle = f"member: cn=carme-admins,ou=groups,{base}\n"
    cluster.ldap_modify(f"{crew}add: member\n{circle}")
    try:
        assert roles(make(), cluster, "eve") == {"admin"}
    finally:
        cluster.ldap_modify(f"{crew}delete: member\n{circle}")


def test_only_allowed_groups_may_sign_in(make: MakeIdentity, cluster: Cluster) -> None:
    identity = make(allowed_groups="crew")
    assert roles(identity, cluster, "eve") == {"admin"}
    with pytest.raises(NotAllowedHere):
        identity.sign_in_password("ada", cluster.people["ada"].password)
    refused(identity, "ada", "wrong-password")  # who doesn't know the password learns nothing of groups


# Refusals


def test_wrong_unknown_and_locked_are_told_alike(make: MakeIdentity, cluster: Cluster) -> None:
    identity = make()
    cluster.lock("bob")
    words = {
        refused(identity, "ada", "wrong-password"),
        refused(identity, "nobody", "wrong-password"),
        refused(identity, "bob", "wrong-password"),
        refused(identity, "bob", cluster.people["bob"].password),
    }
    assert len(words) == 1


def test_they_take_the_same_time(make: MakeIdentity, cluster: Cluster) -> None:
    identity = make()
    identity.sleep = time.sleep
    cluster.lock("bob")
    took = []
    for name in ("ada", "nobody", "bob"):
        started = time.monotonic()
        refused(identity, name, "wrong-password")
        took.append(time.monotonic() - started)
    assert max(took) - min(took) < 0.1
    assert min(took) >= 0.5


def test_an_empty_password_never_reaches_the_directory(make: MakeIdentity, cluster: Cluster) -> None:
    """slapd answers success to a bind with a name and no password."""
    identity = make()
    cluster.stop("slapd")
    try:
        refused(identity, "ada", "")  # DirectoryDown, if it were asked
    finally:
        cluster.start("slapd")


@pytest.mark.parametrize(
    "name",
    ["*", "ada)(uid=*", "a*", "*)(objectClass=*", "ada)(|(uid=*))", "\\61da", "ada\\00", "ada,ou=people"],
)
def test_an_injected_filter_finds_nobody(make: MakeIdentity, cluster: Cluster, name: str) -> None:
    refused(make(), name, cluster.people["ada"].password)


def test_a_filter_that_fits_two_people_signs_in_neither(make: MakeIdentity, cluster: Cluster) -> None:
    identity = make(user_filter="(|(uid={name})(uid=bob))")
    refused(identity, "ada", cluster.people["ada"].password)


# The directory's lockout


def test_a_thousand_wrong_passwords_leave_a_person_unlocked(make: MakeIdentity, cluster: Cluster) -> None:
    identity = make()
    now = [time.time()]
    for part in (identity.throttles, identity):
        part.__dict__["_clock" if part is identity.throttles else "clock"] = lambda: now[0]
    known = identity.sign_in_password("ada", cluster.people["ada"].password).known_browser
    answers = []
    for number in range(1000):
        try:
            identity.sign_in_password("ada", f"wrong-{number}", f"198.51.100.{number % 9}")
        except (SignInRefused, Throttled) as error:
            answers.append(type(error).__name__)
        now[0] += 1.0
    assert len(answers) == 1000
    assert not cluster.is_locked("ada")
    failures = cluster.ldap_attributes(cluster.person_dn("ada")).get("pwdFailureTime", [])
    assert len(failures) <= identity.settings.ldap.lockout_after
    assert (
        identity.sign_in_password("ada", cluster.people["ada"].password, "192.0.2.1", known).needs == "none"
    )
    assert identity.sign_in_password("bob", cluster.people["bob"].password, "198.51.100.1").needs == "none"


def test_one_locked_by_others_is_refused_with_the_right_password(
    make: MakeIdentity, cluster: Cluster
) -> None:
    identity = make()
    cluster.lock("ada")
    refused(identity, "ada", cluster.people["ada"].password)
    cluster.unlock("ada")
    assert identity.sign_in_password("ada", cluster.people["ada"].password)


# Expiry and change


def test_an_expired_password_is_told_after_the_right_one_only(make: MakeIdentity, cluster: Cluster) -> None:
    identity = make()
    cluster.expire_password("ada")
    refused(identity, "ada", "wrong-password")
    with pytest.raises(PasswordExpired) as expired:
        identity.sign_in_password("ada", cluster.people["ada"].password)
    assert not expired.value.can_change  # the directory lets nobody in with it, not even to change it


def test_grace_sign_ins_are_used_and_told(make: MakeIdentity, cluster: Cluster) -> None:
    policy = f"dn: {EXPIRING_POLICY}\nchangetype: modify\nreplace: pwdGraceAuthNLimit\npwdGraceAuthNLimit: "
    cluster.ldap_modify(f"{policy}3\n")
    try:
        cluster.expire_password("ada")
        identity = make()
        pending = identity.sign_in_password("ada", cluster.people["ada"].password)
        assert "You can sign in 2 more times" in pending.notice
        identity.change_password(pending.cookie, cluster.people["ada"].password, LONG_PASSWORD)
        assert identity.sign_in_password("ada", LONG_PASSWORD).notice in (
            "",
            "Your password expires in 1 hours.",
        )
    finally:
        cluster.ldap_modify(f"{policy}0\n")


def test_a_password_that_was_reset_is_changed_before_anything_else(
    make: MakeIdentity, cluster: Cluster
) -> None:
    identity = make()
    with pytest.raises(PasswordRefused):  # without a second factor only one that has expired
        identity.change_expired_password("ada", cluster.people["ada"].password, LONG_PASSWORD)
    cluster.ldap_modify(
        f"dn: {cluster.person_dn('ada')}\nchangetype: modify\nreplace: pwdReset\npwdReset: TRUE\n"
    )
    with pytest.raises(PasswordExpired) as expired:
        identity.sign_in_password("ada", cluster.people["ada"].password)
    assert expired.value.can_change
    with pytest.raises(SignInRefused):
        identity.change_expired_password("ada", "wrong-password", LONG_PASSWORD)
    identity.change_expired_password("ada", cluster.people["ada"].password, LONG_PASSWORD)
    assert identity.sign_in_password("ada", LONG_PASSWORD).needs == "none"


def test_a_person_changes_the_password_under_the_policys_own_rules(
    make: MakeIdentity, cluster: Cluster
) -> None:
    identity = make()
    old = cluster.people["ada"].password
    pending = identity.sign_in_password("ada", old)
    with pytest.raises(PasswordRefused, match=r"too short for the directory\. It says: "):
        identity.change_password(pending.cookie, old, "short")
    identity.change_password(pending.cookie, old, LONG_PASSWORD)
    with pytest.raises(PasswordRefused, match="You have had that password before"):
        identity.change_password(pending.cookie, LONG_PASSWORD, old)
    with pytest.raises(SignInRefused):
        identity.change_password(pending.cookie, old, "yet-another-password")
    assert identity.viewer(pending.cookie) is not None
    refused(identity, "ada", old)
    assert identity.sign_in_password("ada", LONG_PASSWORD)


@pytest.mark.parametrize("password", [" both ends ", "ﬁx ½ ＡＢＣ passwörd", 'quotes " and \\ too'])
def test_a_password_reaches_the_directory_as_it_was_typed(
    make: MakeIdentity, cluster: Cluster, password: str
) -> None:
    identity = make()
    old = cluster.people["ada"].password
    identity.change_password(identity.sign_in_password("ada", old).cookie, old, password)
    assert identity.sign_in_password("ada", password)
    socket_uri = f"ldapi://{str(cluster.folder).replace('/', '%2F')}%2Frun%2Fldapi/"
    shown = subprocess.run(
        ["ldapwhoami", "-x", "-H", socket_uri, "-D", cluster.person_dn("ada"), "-w", password],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stderr


# TLS and servers


@pytest.mark.parametrize("tls", ["starttls", "ldaps"])
def test_a_certificate_of_another_authority_is_refused(
    make: MakeIdentity, cluster: Cluster, tmp_path: Path, tls: str
) -> None:
    other = tmp_path / "other.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "2", "-subj", "/CN=Other",
         "-keyout", str(tmp_path / "other.key"), "-out", str(other)],
        check=True, capture_output=True,
    )  # fmt: skip
    uri = cluster.ldaps_uri if tls == "ldaps" else cluster.ldap_uri
    with pytest.raises(DirectoryDown) as down:
        make(ca_file=str(other), servers=uri, tls=tls).sign_in_password("ada", cluster.people["ada"].password)
    assert "certificate verify failed" in down.value.why


@pytest.mark.parametrize("tls", ["starttls", "ldaps"])
def test_a_certificate_for_another_name_is_refused(make: MakeIdentity, cluster: Cluster, tls: str) -> None:
    """127.0.0.1 is in the certificate, 127.0.0.2 answers with the same one and is not."""
    uri = cluster.ldaps_uri if tls == "ldaps" else cluster.ldap_uri
    password = cluster.people["ada"].password
    assert make(servers=uri.replace("localhost", "127.0.0.1"), tls=tls).sign_in_password("ada", password)
    with Relay(uri) as relay, pytest.raises(DirectoryDown) as down:
        make(servers=relay.uri, tls=tls).sign_in_password("ada", password)
    assert "IP address mismatch" in down.value.why


def test_an_authority_that_is_not_there_is_no_reason_to_go_on(make: MakeIdentity, cluster: Cluster) -> None:
    with pytest.raises(DirectoryDown, match="can't be reached") as down:
        make(ca_file="/nowhere/ca.pem").sign_in_password("ada", cluster.people["ada"].password)
    assert "/nowhere/ca.pem" in down.value.why


def test_a_server_that_offers_no_tls_is_not_used(make: MakeIdentity, cluster: Cluster) -> None:
    """Something that refuses StartTLS sees no password."""
    with Deaf(answer=b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x02\x04\x00\x04\x00") as server:
        with pytest.raises(DirectoryDown):
            make(servers=server.uri).sign_in_password("ada", cluster.people["ada"].password)
        assert cluster.people["ada"].password.encode() not in server.heard
        assert cluster.ldap_bind_password.encode() not in server.heard


def test_the_next_server_is_asked_when_one_is_away(make: MakeIdentity, cluster: Cluster) -> None:
    identity = make(servers=f"ldap://127.0.0.1:9, {cluster.ldap_uri}")
    for _ in range(2):
        assert identity.sign_in_password("ada", cluster.people["ada"].password)
    directory = identity.directory
    assert isinstance(directory, LdapDirectory)
    assert directory._servers.in_order()[0] == cluster.ldap_uri  # the dead one rests
    assert identity.directory_status().ok


def test_a_server_that_says_nothing_is_left_in_time(make: MakeIdentity, cluster: Cluster) -> None:
    with Deaf() as silent:
        identity = make(servers=f"{silent.uri}, {cluster.ldap_uri}", timeout_s="1")
        started = time.monotonic()
        assert identity.sign_in_password("ada", cluster.people["ada"].password)
        assert time.monotonic() - started < 3


def test_a_directory_that_went_away_comes_back_by_itself(make: MakeIdentity, cluster: Cluster) -> None:
    identity = make()
    password = cluster.people["ada"].password
    login = identity.sign_in_password("ada", password)
    cluster.stop("slapd")
    try:
        with pytest.raises(DirectoryDown) as down:
            identity.sign_in_password("ada", password)
        since = down.value.since_s
        with pytest.raises(DirectoryDown) as down:
            identity.sign_in_password("ada", password)
        assert down.value.since_s == since
        status = identity.directory_status()
        assert (status.ok, status.since_s) == (False, since)
        assert identity.viewer(login.cookie) is not None  # who is in stays in
    finally:
        cluster.start("slapd")
    assert identity.probe_directory().ok
    assert identity.sign_in_password("ada", password)


def test_the_sweep_notices_that_the_directory_is_back(make: MakeIdentity, cluster: Cluster) -> None:
    identity = make()
    cluster.stop("slapd")
    try:
        assert not identity.probe_directory().ok
        identity.sweep()
        assert not identity.directory_status().ok
    finally:
        cluster.start("slapd")
    identity._probed_at = 0.0
    identity.sweep()
    assert identity.directory_status().ok


def test_a_refused_service_account_is_the_consoles_trouble_not_the_persons(
    make: MakeIdentity, cluster: Cluster
) -> None:
    with pytest.raises(DirectoryDown) as down:
        make(bind_password="wrong").sign_in_password("ada", cluster.people["ada"].password)
    assert "service account" in down.value.why


def test_a_referral_is_not_followed(make: MakeIdentity, cluster: Cluster) -> None:
    """A person found by way of another server would be checked by that one."""
    with Deaf() as elsewhere:
        dn = f"uid=mallory,ou=people,{cluster.ldap_base}"
        cluster.ldap_modify(
            f"dn: {dn}\nchangetype: add\nobjectClass: referral\nobjectClass: extensibleObject\nuid: mallory\n"
            f"ref: {elsewhere.uri}/{dn}\n"
        )
        try:
            refused(make(), "mallory", "any-password")
            assert not elsewhere.heard
        finally:
            delete_referral(cluster, dn)


def delete_referral(cluster: Cluster, dn: str) -> None:
    cluster._ldap("ldapdelete", ["-M", dn], None)


class Deaf:
    """A server that accepts and says `answer`, or nothing."""

    def __init__(self, answer: bytes = b"") -> None:
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.uri = f"ldap://127.0.0.1:{self._socket.getsockname()[1]}"
        self.heard = b""
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._listen, args=(connection,), daemon=True).start()

    def _listen(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(10)
            try:
                while data := connection.recv(65536):
                    self.heard += data
                    connection.sendall(self._answer)
            except OSError:
                return

    def __enter__(self) -> Deaf:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


class Relay:
    """The directory under an address that its certificate does not name."""

    def __init__(self, uri: str) -> None:
        scheme, _, place = uri.partition("://")
        self._port = int(place.rpartition(":")[2])
        self._socket = socket.create_server(("127.0.0.2", 0))
        self.uri = f"{scheme}://127.0.0.2:{self._socket.getsockname()[1]}"

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._port))
            for one, two in ((client, server), (server, client)):
                threading.Thread(target=self._copy, args=(one, two), daemon=True).start()

    @staticmethod
    def _copy(one: socket.socket, two: socket.socket) -> None:
        try:
            while data := one.recv(65536):
                two.sendall(data)
            two.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def __enter__(self) -> Relay:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def test_the_tools_of_these_tests_are_there() -> None:
    assert shutil.which("ldapwhoami")
    assert shutil.which("openssl")
