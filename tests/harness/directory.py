"""slapd: certificates, configuration with ppolicy and memberOf, and the people as LDIF."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.harness.people import LDAP_GROUPS, PEOPLE

BASE = "dc=carme,dc=test"
ROOT_DN = f"cn=manager,{BASE}"
SERVICE_DN = f"cn=console,ou=services,{BASE}"
DEFAULT_POLICY = f"cn=default,ou=policies,{BASE}"
EXPIRING_POLICY = f"cn=expiring,ou=policies,{BASE}"
MAX_FAILURES = 10
MIN_LENGTH = 10


def person_dn(name: str) -> str:
    return f"uid={name},ou=people,{BASE}"


def group_dn(name: str) -> str:
    return f"cn={name},ou=groups,{BASE}"


def make_certificates(folder: Path, host: str) -> None:
    """In `folder`: a CA (ca.pem is for everyone) and a certificate for the host, localhost and 127.0.0.1."""
    folder.mkdir(parents=True, exist_ok=True)
    extensions = folder / "server.ext"
    extensions.write_text(
        f"subjectAltName=DNS:localhost,DNS:{host},IP:127.0.0.1\n"
        "basicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth\n"
        "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
    )
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"]
    _openssl(
        "req", "-x509", *key, "-days", "30", "-subj", "/CN=Carme test CA",
        "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        "-keyout", str(folder / "ca.key"), "-out", str(folder / "ca.pem"),
    )  # fmt: skip
    _openssl(
        "req", *key, "-subj", "/CN=localhost",
        "-keyout", str(folder / "server.key"), "-out", str(folder / "server.csr"),
    )  # fmt: skip
    _openssl(
        "x509", "-req", "-in", str(folder / "server.csr"), "-CA", str(folder / "ca.pem"),
        "-CAkey", str(folder / "ca.key"), "-CAcreateserial", "-days", "30",
        "-extfile", str(extensions), "-out", str(folder / "server.pem"),
    )  # fmt: skip
    for public in ("ca.pem", "server.pem"):
        (folder / public).chmod(0o644)


def _openssl(*arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"openssl {arguments[0]} failed: {done.stderr.strip()}")


def write(folder: Path, *, root_password: str, owner: tuple[int, int]) -> None:
    """Write folder/ldap/slapd.conf and give slapd its database folder and key."""
    place = folder / "ldap"
    data = place / "data"
    data.mkdir(parents=True, exist_ok=True)
    data.chmod(0o700)
    shutil.chown(data, *owner)
    shutil.chown(place / "server.key", *owner)
    conf = place / "slapd.conf"
    conf.touch(mode=0o600)
    conf.write_text(_slapd_conf(folder, root_password))
    shutil.chown(conf, *owner)


def _slapd_conf(folder: Path, root_password: str) -> str:
    place = folder / "ldap"
    return f"""\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/nis.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload ppolicy
moduleload memberof
pidfile {folder}/run/slapd.pid
loglevel stats
TLSCACertificateFile {place}/ca.pem
TLSCertificateFile {place}/server.pem
TLSCertificateKeyFile {place}/server.key
# A password never travels in clear: simple binds need TLS (ldapi counts as 71).
security simple_bind=64
sizelimit 2000

database mdb
suffix "{BASE}"
rootdn "{ROOT_DN}"
rootpw {root_password}
directory {place}/data
maxsize 268435456
# The data are thrown away with the cluster.
dbnosync
index objectClass eq
index uid,cn,member,memberOf eq
access to attrs=userPassword by self write by anonymous auth by * none
access to * by self read by dn.exact="{SERVICE_DN}" read by users read by anonymous auth

overlay ppolicy
ppolicy_default "{DEFAULT_POLICY}"
ppolicy_hash_cleartext

overlay memberof
memberof-group-oc groupOfNames
memberof-member-ad member
memberof-memberof-ad memberOf
memberof-refint TRUE
"""


def ldif(service_password: str) -> str:
    """Every entry; loaded with ldapadd, because slapadd leaves memberOf empty."""
    entries = [
        f"dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\ndc: carme\no: Carme",
        *(
            f"dn: ou={unit},{BASE}\nobjectClass: organizationalUnit\nou: {unit}"
            for unit in ("people", "groups", "services", "policies")
        ),
        _policy("default", max_age_s=0),
        _policy("expiring", max_age_s=3600),
        f"dn: {SERVICE_DN}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\n"
        f"cn: console\nuserPassword: {service_password}",
    ]
    for person in PEOPLE.values():
        given, _, family = person.display_name.partition(" ")
        entries.append(
            f"dn: {person_dn(person.name)}\nobjectClass: inetOrgPerson\nobjectClass: posixAccount\n"
            f"uid: {person.name}\ncn: {person.display_name}\ndisplayName: {person.display_name}\n"
            f"givenName: {given}\nsn: {family}\nmail: {person.mail}\nuidNumber: {person.uid}\n"
            f"gidNumber: {person.gid}\nhomeDirectory: {person.home}\nloginShell: /bin/bash\n"
            f"userPassword: {person.password}"
        )
    for name, members in LDAP_GROUPS.items():
        listed = "\n".join(
            f"member: {group_dn(member) if member in LDAP_GROUPS else person_dn(member)}" for member in members
        )
        entries.append(f"dn: {group_dn(name)}\nobjectClass: groupOfNames\ncn: {name}\n{listed}")
    return "\n\n".join(entries) + "\n"


def _policy(name: str, *, max_age_s: int) -> str:
    return (
        f"dn: cn={name},ou=policies,{BASE}\nobjectClass: organizationalRole\nobjectClass: pwdPolicy\n"
        f"cn: {name}\npwdAttribute: userPassword\npwdLockout: TRUE\npwdMaxFailure: {MAX_FAILURES}\n"
        f"pwdLockoutDuration: 900\npwdFailureCountInterval: 900\npwdCheckQuality: 2\n"
        f"pwdMinLength: {MIN_LENGTH}\npwdInHistory: 2\npwdMaxAge: {max_age_s}\npwdGraceAuthNLimit: 0\n"
        "pwdAllowUserChange: TRUE\npwdSafeModify: FALSE\npwdMustChange: TRUE"
    )
