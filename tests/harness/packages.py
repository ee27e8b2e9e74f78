"""The Debian packages the cluster needs, and their installation without starting a service.

Debian 12 and 13 and Ubuntu 24.04 cut Slurm into packages differently: a package is wanted when apt knows it;
a required one that apt doesn't know is an error.
"""

from __future__ import annotations

import contextlib
import fcntl
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.harness.errors import PackagesMissing

REQUIRED = (
    "munge", "slurmctld", "slurmd", "slurmdbd", "slurm-client",
    "mariadb-server-core", "mariadb-client-core", "slapd", "ldap-utils",
    "openssl", "sudo", "util-linux", "passwd", "curl", "gcc", "libc6-dev",
)  # fmt: skip
# Plugins in packages of their own in some releases, in the daemons' packages in others; and the browser that tests
# drive, which Ubuntu has as a snap only.
WHERE_KNOWN = ("slurm-wlm-mysql-plugin", "slurm-wlm-basic-plugins", "chromium")

POLICY = Path("/usr/sbin/policy-rc.d")
SAVED = Path("/usr/sbin/policy-rc.d.before-harness")
NO_SERVICES = "#!/bin/sh\n# Written by the cluster harness while it installs packages.\nexit 101\n"
APT_ENV = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root",
    "DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1",
}  # fmt: skip


def missing() -> list[str]:
    """Names of wanted packages that aren't installed, in the order they are listed."""
    wanted = [*REQUIRED, *WHERE_KNOWN]
    shown = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *wanted],
        capture_output=True, text=True, check=False, env=APT_ENV,
    ).stdout  # fmt: skip
    installed = {line.split()[0] for line in shown.splitlines() if line.endswith(" installed")}
    absent = [name for name in wanted if name not in installed]
    optional = [name for name in absent if name in WHERE_KNOWN]
    unknown = set(optional) - _known(optional) if optional else set()
    return [name for name in absent if name not in unknown]


def install() -> list[str]:
    """Install what is missing; return the names. Starts no service. Raises PackagesMissing."""
    if not Path("/usr/bin/apt-get").exists():
        raise PackagesMissing("The harness installs Debian packages, and this machine has no apt-get.")
    if not missing() and _has_lists():
        return []
    with _one_at_a_time():
        names = missing()
        if set(names) - _known(names) or not _has_lists():
            _apt("update", "-q")
        names = missing()
        if not names:
            return []
        unknown = sorted(set(names) - _known(names))
        if unknown:
            raise PackagesMissing(f"apt knows no package {', '.join(unknown)} on this machine.")
        with _no_service_starts():
            try:
                _apt("install", "-q", "-y", "--no-install-recommends", *names)
            except PackagesMissing:
                # The lists may be older than the mirror: files they name are gone.
                _apt("update", "-q")
                _apt("install", "-q", "-y", "--no-install-recommends", *names)
        return names


def _has_lists() -> bool:
    """Whether apt knows any package: without lists, what is wanted where known would pass for unknown."""
    return any(Path("/var/lib/apt/lists").glob("*_Packages*"))


def _known(names: list[str]) -> set[str]:
    shown = subprocess.run(
        ["apt-cache", "policy", *names], capture_output=True, text=True, check=False, env=APT_ENV
    ).stdout
    known: set[str] = set()
    current = ""
    for line in shown.splitlines():
        if line and not line[0].isspace():
            current = line.rstrip(":")
        elif line.strip().startswith("Candidate:") and "(none)" not in line:
            known.add(current)
    return known


def _apt(*arguments: str) -> None:
    done = subprocess.run(
        ["apt-get", "-o", "DPkg::Lock::Timeout=300", *arguments],
        capture_output=True, text=True, check=False, env=APT_ENV, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-25:])
        raise PackagesMissing(f"apt-get {' '.join(arguments)} failed:\n{tail}")


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    with Path("/run/carme-harness-packages.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _no_service_starts() -> Iterator[None]:
    """Keep maintainer scripts from starting services; a run that was killed is repaired by the next one."""
    if SAVED.exists():
        SAVED.replace(POLICY)
    elif POLICY.exists() and POLICY.read_text(errors="replace") == NO_SERVICES:
        POLICY.unlink()
    if POLICY.exists() or POLICY.is_symlink():
        POLICY.rename(SAVED)
    POLICY.write_text(NO_SERVICES)
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        if SAVED.exists() or SAVED.is_symlink():
            SAVED.replace(POLICY)
        else:
            POLICY.unlink(missing_ok=True)
