"""The cluster's own view of the machine: a namespace with its own /etc, /home, /run, /tmp and /usr/local.

Everything here runs inside the new namespace, as its first process; outside nothing changes.
"""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from tests.harness import kernel
from tests.harness.people import CONSOLE, LAUNCHER, PEOPLE, PEOPLE_GROUP

AS_USER = Path("/usr/local/libexec/carme-as-user")
# Accounts of packages outside the system range, or that a `-core` package doesn't make.
DAEMON_USERS = ("munge", "slurm", "mysql", "openldap")


@dataclass(frozen=True)
class Account:
    name: str
    uid: int
    gid: int
    home: str
    shell: str = "/usr/sbin/nologin"


def enter(folder: Path, *, hostname: str, expose: list[Path]) -> dict[str, Account]:
    """Make the namespace around this process; return every account in it by name.

    `expose`: folders that everyone inside must be able to reach at the same path, whatever lies above them.
    """
    kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWUTS)
    kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
    kernel.set_hostname(hostname)
    accounts = _write_etc(folder / "etc", hostname)
    _make_homes(folder / "home", accounts)

    # Opened before anything is hidden; each is bound back afterwards from its descriptor.
    kept = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in sorted({folder, *expose})}
    mine = f"/proc/self/fd/{kept[folder]}"
    for part, mode in (("tmp", 0o1777), ("var-tmp", 0o1777)):
        (folder / part).mkdir()
        (folder / part).chmod(mode)
    hidden = [_top_closed_ancestor(path) for path in kept]
    _mirror(Path("/usr/local"))
    if AS_USER.parent.is_dir():
        _mirror(AS_USER.parent)
    else:
        AS_USER.parent.mkdir()
    kernel.bind(f"{mine}/etc", "/etc")
    kernel.bind(f"{mine}/home", "/home")
    kernel.bind(f"{mine}/var-tmp", "/var/tmp")
    kernel.bind(f"{mine}/tmp", "/tmp")
    kernel.mount("tmpfs", "/run", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755")
    for part, mode in (("lock", 0o1777), ("sudo", 0o711), ("munge", 0o755), ("user", 0o755)):
        Path("/run", part).mkdir()
        Path("/run", part).chmod(mode)
    kernel.mount("tmpfs", "/dev/shm", "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=1777")
    for ancestor in sorted({path for path in hidden if path is not None}):
        if ancestor.is_dir():
            kernel.mount("tmpfs", str(ancestor), "tmpfs", kernel.MS_NOSUID, "mode=711")
    for path, descriptor in kept.items():
        _bind_back(path, descriptor)
        os.close(descriptor)
    _own_devices(folder / "dev")
    return accounts


def _top_closed_ancestor(path: Path) -> Path | None:
    for ancestor in reversed(path.parents):
        if not ancestor.stat().st_mode & stat.S_IXOTH:
            return ancestor
    return None


def _bind_back(path: Path, descriptor: int) -> None:
    kept = os.fstat(descriptor)
    path.mkdir(parents=True, exist_ok=True, mode=0o755)
    found = path.stat()
    if (found.st_dev, found.st_ino) != (kept.st_dev, kept.st_ino):
        kernel.bind(f"/proc/self/fd/{descriptor}", str(path))
    if not kept.st_mode & stat.S_IXOTH:
        _mirror(path)


def _mirror(path: Path) -> None:
    """Cover `path` with a writable folder of the same entries, open to everyone; entries keep their modes."""
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    below = Path(f"/proc/self/fd/{descriptor}")
    entries = list(os.scandir(below))
    kernel.mount("tmpfs", str(path), "tmpfs", 0, "mode=755")
    for entry in entries:
        target = path / entry.name
        if entry.is_symlink():
            target.symlink_to(Path(entry.path).readlink())
        elif entry.is_dir():
            target.mkdir()
            kernel.bind(entry.path, str(target))
        elif entry.is_file():
            target.touch()
            kernel.bind(entry.path, str(target))
    os.close(descriptor)


def _own_devices(place: Path) -> None:
    """Pretend GPUs (symlinks to /dev/null: gres.conf takes device nodes only), a FUSE device for everyone."""
    place.mkdir(exist_ok=True)
    kernel.mount("tmpfs", str(place), "tmpfs", 0, "mode=755,size=1m")
    for number in range(8):
        (place / f"nvidia{number}").symlink_to("/dev/null")
    fuse = Path("/dev/fuse")
    if fuse.exists():
        own = place / "fuse"
        os.mknod(own, 0o666 | stat.S_IFCHR, fuse.stat().st_rdev)
        own.chmod(0o666)
        kernel.bind(str(own), str(fuse))


def _write_etc(place: Path, hostname: str) -> dict[str, Account]:
    shutil.copytree("/etc", place, symlinks=True, ignore_dangling_symlinks=True, ignore=_not_copied)
    resolv = place / "resolv.conf"
    if resolv.is_symlink():
        # It may point into /run, which is our own inside.
        text = Path("/etc/resolv.conf").read_text() if Path("/etc/resolv.conf").exists() else ""
        resolv.unlink()
        resolv.write_text(text)
    accounts = _accounts()
    by_name = {account.name: account for account in accounts}
    _write(
        place / "passwd",
        "".join(f"{a.name}:x:{a.uid}:{a.gid}:{a.name}:{a.home}:{a.shell}\n" for a in accounts),
    )
    _write(place / "shadow", "".join(f"{a.name}:*:19000:0:99999:7:::\n" for a in accounts), 0o600)
    _write(place / "group", _group_file(accounts))
    _write(place / "gshadow", "", 0o600)
    services = [by_name[CONSOLE], by_name[LAUNCHER], *(by_name[name] for name in PEOPLE)]
    ranges = "".join(f"{a.name}:{1_000_000 + 65_536 * count}:65536\n" for count, a in enumerate(services))
    _write(place / "subuid", ranges)
    _write(place / "subgid", ranges)
    _write(
        place / "nsswitch.conf",
        "passwd: files\ngroup: files\nshadow: files\ngshadow: files\nhosts: files dns\n"
        "networks: files\nprotocols: files\nservices: files\nsudoers: files\n",
    )
    _write(place / "hosts", f"127.0.0.1 localhost {hostname}\n::1 ip6-localhost\n")
    _write(place / "hostname", f"{hostname}\n")
    _write(
        place / "sudoers",
        "Defaults env_reset, !requiretty, !use_pty, !syslog, !mail_badpass\n"
        'Defaults secure_path="/usr/sbin:/usr/bin:/sbin:/bin"\n'
        f'{LAUNCHER} ALL=(%{PEOPLE_GROUP}) NOPASSWD: {AS_USER} ""\n',
        0o440,
    )
    for part in ("slurm", "carme", "sudoers.d"):
        shutil.rmtree(place / part, ignore_errors=True)
        (place / part).mkdir(mode=0o755)
    return by_name


def _not_copied(folder: str, names: list[str]) -> set[str]:
    """Sockets and pipes can't be copied."""
    copied = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)
    return {name for name in names if stat.S_IFMT(os.lstat(f"{folder}/{name}").st_mode) not in copied}


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)
    path.chmod(mode)


def _accounts() -> list[Account]:
    """System accounts of this machine, the daemons', the console's two and the people; no other person."""
    found: list[Account] = []
    for line in Path("/etc/passwd").read_text().splitlines():
        fields = line.split(":")
        if len(fields) != 7 or not fields[2].isdigit():
            continue
        if int(fields[2]) < 1000 or fields[0] in (*DAEMON_USERS, "nobody"):
            found.append(Account(fields[0], int(fields[2]), int(fields[3]), fields[5], fields[6]))
    found = [account for account in found if account.name not in (CONSOLE, LAUNCHER, *PEOPLE)]
    free = iter(_free_ids(found))
    for name in DAEMON_USERS:
        if name not in {account.name for account in found}:
            number = next(free)
            found.append(Account(name, number, number, "/nonexistent"))
    for name in (CONSOLE, LAUNCHER):
        number = next(free)
        found.append(Account(name, number, number, f"/home/{name}", "/bin/sh"))
    found += [Account(p.name, p.uid, p.gid, p.home, "/bin/bash") for p in PEOPLE.values()]
    return found


def _free_ids(accounts: list[Account]) -> list[int]:
    used = {account.uid for account in accounts} | {account.gid for account in accounts}
    used |= set(_system_groups().values())
    return [number for number in range(980, 500, -1) if number not in used]


def _system_groups() -> dict[str, int]:
    groups: dict[str, int] = {}
    for line in Path("/etc/group").read_text().splitlines():
        fields = line.split(":")
        if len(fields) == 4 and fields[2].isdigit():
            groups[fields[0]] = int(fields[2])
    return groups


def _group_file(accounts: list[Account]) -> str:
    ours = (CONSOLE, LAUNCHER, PEOPLE_GROUP, *PEOPLE)
    groups = {name: gid for name, gid in _system_groups().items() if name not in ours}
    for account in accounts:
        if account.gid not in groups.values():
            groups[account.name] = account.gid
    # The launcher hands its socket to the console's group: to that account and nobody else.
    members = {CONSOLE: LAUNCHER}
    lines = [f"{name}:x:{gid}:{members.get(name, '')}" for name, gid in groups.items()]
    lines.append(f"{PEOPLE_GROUP}:x:42000:{','.join(PEOPLE)}")
    return "\n".join(lines) + "\n"


def _make_homes(place: Path, accounts: dict[str, Account]) -> None:
    place.mkdir()
    place.chmod(0o755)
    for name in (CONSOLE, LAUNCHER, *PEOPLE):
        home = place / name
        home.mkdir(mode=0o700)
        os.chown(home, accounts[name].uid, accounts[name].gid)
