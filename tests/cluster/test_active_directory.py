"""Active Directory, as Samba speaks it. Skipped where samba-ad-dc is not installed:

apt-get install --no-install-recommends samba samba-ad-dc samba-ad-provision samba-dsdb-modules ldb-tools
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from backend.identity import (
    Identity,
    NotAllowedHere,
    PasswordExpired,
    PasswordRefused,
    SignInRefused,
    Throttled,
)
from backend.store import Database, SecretBox
from config import load_settings
from tests.harness.directory import make_certificates

ADDRESS = "127.0.0.77"  # its ports are fixed: an address of its own keeps them free for others
REALM = "AD.CARME.TEST"
BASE = "dc=ad,dc=carme,dc=test"
PASSWORD = "Orbit-7919-ad"
FRESH = "Another-4211-ad"
LOCKOUT = 6


def missing() -> bool:
    provision = Path("/usr/share/samba/setup/ad-schema")
    return (
        os.geteuid() != 0
        or not shutil.which("samba-tool")
        or not shutil.which("samba")
        or not provision.exists()
    )


pytestmark = pytest.mark.skipif(missing(), reason="needs root and samba-ad-dc with samba-ad-provision")


@dataclass(frozen=True)
class Domain:
    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "tls" / "ca.pem"

    def tool(self, *arguments: str) -> str:
        """samba-tool on the domain's own database."""
        command = ["samba-tool", *arguments, "-H", str(self.folder / "private" / "sam.ldb")]
        done = subprocess.run(
            [*command, "-s", str(self.folder / "etc" / "smb.conf")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def attribute(self, name: str, attribute: str) -> str:
        shown = self.tool("user", "show", name, f"--attributes={attribute}")
        return next(
            (line.partition(": ")[2] for line in shown.splitlines() if line.startswith(attribute)), ""
        )


def provision(folder: Path) -> None:
    done = subprocess.run(
        ["samba-tool", "domain", "provision", f"--realm={REALM}", "--domain=CARME", "--server-role=dc",
         "--dns-backend=NONE", f"--adminpass={PASSWORD}", f"--targetdir={folder}",
         "--host-name=dc1", "--use-rfc2307",
         "--option=interfaces=lo", "--option=bind interfaces only=yes"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    tls = folder / "tls"
    make_certificates(tls, f"dc1.ad.carme.test,IP:{ADDRESS}")
    (tls / "server.key").chmod(0o600)
    conf = folder / "etc" / "smb.conf"
    kept = [
        line
        for line in conf.read_text().partition("[homes]")[0].splitlines()
        if not line.strip().startswith(("server services", "interfaces", "log file", "panic action"))
    ]
    own = {
        "server services": "ldap",
        "dcerpc endpoint servers": "-winreg",
        "interfaces": f"{ADDRESS}/8",
        "log file": f"{folder}/log",
        "pid directory": f"{folder}/run",
        "ncalrpc dir": f"{folder}/run/ncalrpc",
        "ntp signd socket directory": f"{folder}/run/ntp",
        "winbindd socket directory": f"{folder}/run/winbindd",
        "tls certfile": f"{tls}/server.pem",
        "tls keyfile": f"{tls}/server.key",
        "tls cafile": f"{tls}/ca.pem",
    }
    conf.write_text("\n".join([*kept, *(f"\t{key} = {value}" for key, value in own.items())]) + "\n")


def people(domain: Domain) -> None:
    domain.tool("domain", "passwordsettings", "set", f"--account-lockout-threshold={LOCKOUT}",
                "--min-pwd-age=0",
                "--history-length=0")  # fmt: skip
    for place, name in enumerate(("ada", "bob", "eve", "console")):
        domain.tool("user", "create", name, PASSWORD, f"--mail-address={name}@example.org",
                    f"--given-name={name.title()}", f"--uid-number={42001 + place}")  # fmt: skip
    for group, members in (("crew", "eve"), ("carme-admins", "crew"), ("carme-operators", "bob")):
        domain.tool("group", "add", group)
        domain.tool("group", "addmembers", group, members)


@pytest.fixture(scope="module")
def domain() -> Iterator[Domain]:
    with tempfile.TemporaryDirectory(prefix="carme-ad-", dir="/tmp") as name:
        domain = Domain(Path(name))
        provision(domain.folder)
        people(domain)
        (domain.folder / "run").mkdir()
        with (domain.folder / "stdout").open("w") as log:
            samba = subprocess.Popen(
                ["samba", "-i", "-M", "single", "-s", str(domain.folder / "etc" / "smb.conf")],
                stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        try:
            wait_for(samba, domain)
            yield domain
        finally:
            samba.terminate()
            samba.wait(20)


def wait_for(samba: subprocess.Popen[bytes], domain: Domain) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            for port in (389, 636):
                socket.create_connection((ADDRESS, port), 1).close()
        except OSError:
            if samba.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"samba did not start:\n{(domain.folder / 'stdout').read_text()[-3000:]}")
            time.sleep(0.1)
        else:
            return


MakeIdentity = Callable[..., Identity]


@pytest.fixture
def make(domain: Domain, tmp_path: Path) -> Iterator[MakeIdentity]:
    made: list[Identity] = []

    def build(**changed: str) -> Identity:
        ldap = {
            "servers": f"ldaps://{ADDRESS}",
            "tls": "ldaps",
            "ca_file": str(domain.ca),
            "bind_dn": "console@ad.carme.test",
            "bind_password": PASSWORD,
            "base_dn": BASE,
            "user_filter": "(&(objectCategory=person)(objectClass=user)(sAMAccountName={name}))",
            "name_attribute": "sAMAccountName",
            "display_attribute": "displayName",
            "group_filter": "(objectClass=group)",
            "active_directory": "true",
            "timeout_s": "10",
            **changed,
        }
        folder = tmp_path / str(len(made))
        environ = {
            "CARME_DATA": str(folder),
            "CARME_DIRECTORY__KIND": "ldap",
            "CARME_LOGIN__SECOND_FACTOR": "off",
        }
        settings = load_settings(None, environ | {f"CARME_LDAP__{k.upper()}": v for k, v in ldap.items()})
        db = Database(settings.store.url)
        db.upgrade()
        made.append(Identity(settings, db, SecretBox(folder), sleep=lambda _seconds: None))
        return made[-1]

    yield build
    for identity in made:
        identity.close()
        identity.db.close()
    domain.tool("user", "setpassword", "ada", f"--newpassword={PASSWORD}")
    domain.tool("user", "unlock", "ada")


@pytest.mark.parametrize("tls", ["starttls", "ldaps"])
def test_a_person_signs_in(make: MakeIdentity, tls: str) -> None:
    identity = make(tls=tls, servers=f"{'ldap' if tls == 'starttls' else 'ldaps'}://{ADDRESS}")
    viewer = identity.viewer(identity.sign_in_password("Ada", PASSWORD).cookie)
    assert viewer is not None
    assert (viewer.name, viewer.uid, viewer.mail) == ("ada", 42001, "ada@example.org")


def test_nested_groups_give_roles_by_the_matching_rule(make: MakeIdentity) -> None:
    identity = make()
    roles = {}
    for name in ("ada", "bob", "eve"):
        viewer = identity.viewer(identity.sign_in_password(name, PASSWORD).cookie)
        assert viewer is not None
        roles[name] = viewer.roles - {"user"}
    assert roles == {"ada": set(), "bob": {"operator"}, "eve": {"admin"}}


def test_nested_groups_by_walking_are_the_same(make: MakeIdentity) -> None:
    identity = make(active_directory="false")
    viewer = identity.viewer(identity.sign_in_password("eve", PASSWORD).cookie)
    assert viewer is not None
    assert viewer.roles == {"user", "admin"}


def test_a_direct_bind_by_principal(make: MakeIdentity) -> None:
    identity = make(bind="direct", bind_dn="", bind_password="", user_dn_template="{name}@ad.carme.test")
    assert identity.sign_in_password("eve", PASSWORD).name == "eve"
    for name in ("nobody", "eve@ad.carme.test", "eve,dc=x"):
        with pytest.raises(SignInRefused):
            identity.sign_in_password(name, "wrong-password")


def test_only_allowed_groups_may_sign_in(make: MakeIdentity) -> None:
    identity = make(allowed_groups="crew")
    assert identity.sign_in_password("eve", PASSWORD)
    with pytest.raises(NotAllowedHere):
        identity.sign_in_password("ada", PASSWORD)


def test_wrong_and_unknown_are_told_alike(make: MakeIdentity) -> None:
    words = set()
    for name in ("ada", "nobody"):
        with pytest.raises(SignInRefused) as error:
            make().sign_in_password(name, "wrong-password")
        words.add(str(error.value))
    assert len(words) == 1


def test_a_person_changes_the_password_by_unicodepwd(make: MakeIdentity) -> None:
    identity = make()
    pending = identity.sign_in_password("ada", PASSWORD)
    with pytest.raises(PasswordRefused, match=r"policy\. It says: "):
        identity.change_password(pending.cookie, PASSWORD, "short")
    identity.change_password(pending.cookie, PASSWORD, FRESH)
    assert identity.sign_in_password("ada", FRESH)


def test_a_password_that_must_be_changed_is_changed_by_the_person(make: MakeIdentity, domain: Domain) -> None:
    identity = make()
    domain.tool("user", "setpassword", "ada", f"--newpassword={PASSWORD}", "--must-change-at-next-login")
    with pytest.raises(SignInRefused):
        identity.sign_in_password("ada", "wrong-password")
    with pytest.raises(PasswordExpired) as expired:
        identity.sign_in_password("ada", PASSWORD)
    assert expired.value.can_change
    identity.change_expired_password("ada", PASSWORD, FRESH)
    assert identity.sign_in_password("ada", FRESH)


def test_many_wrong_passwords_leave_a_person_unlocked(make: MakeIdentity, domain: Domain) -> None:
    identity = make()
    now = [time.time()]
    identity.throttles._clock = lambda: now[0]
    identity.clock = lambda: now[0]
    for number in range(200):
        with pytest.raises((SignInRefused, Throttled)):
            identity.sign_in_password("ada", f"wrong-{number}")
        now[0] += 5
    assert int(domain.attribute("ada", "badPwdCount")) <= identity.settings.ldap.lockout_after < LOCKOUT
    known = identity.sign_in_password("bob", PASSWORD)
    assert known.needs == "none"
