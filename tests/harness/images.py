"""Apptainer and the JupyterLab image, fetched or built once into a cache outside the checkout.

`python -m tests.harness.images [--prefix]` prints `{"apptainer": PATH, "image": PATH}`; with `--prefix` only
apptainer is made. The cache is `$CARME_CACHE`, for root /var/cache/carme, else `~/.cache/carme`, and all in
it is keyed by a hash of its recipe. Files are world-readable: the people of a test cluster run them.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from assets.containers import build_image

PACKAGES = ("squashfs-tools", "squashfuse", "fuse3", "uidmap", "patchelf", "mmdebstrap")
"""What Apptainer and the build need of the release itself."""
DEBS = ("apptainer", "libc6", "libseccomp2", "libsqlite3-0")
"""What is taken from Debian's unstable suite where the release has no apptainer."""
PREFIX_REVISION = b"1"
"""Raised when `_make_prefix` makes another thing."""
LIB = {"x86_64": "x86_64-linux-gnu", "aarch64": "aarch64-linux-gnu"}
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


class CannotProvide(Exception):
    """Apptainer or the image can't be had here; the message says what to do."""


@dataclass(frozen=True)
class Provided:
    """Absolute paths; `image` is empty when it was not asked for."""

    apptainer: str
    image: str = ""


def cache_folder() -> Path:
    """Where built things are kept."""
    given = os.environ.get("CARME_CACHE")
    if given:
        return Path(given)
    if os.getuid() == 0:
        return Path("/var/cache/carme")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "carme"


def provide(image: bool = True) -> Provided:
    """Apptainer, and with `image` the JupyterLab image. Minutes the first time. Raises CannotProvide."""
    apptainer = provide_apptainer()
    return Provided(apptainer, provide_image(apptainer) if image else "")


def provide_apptainer() -> str:
    """The installed apptainer, the release's own, or one in a private prefix in the cache."""
    installed = shutil.which("apptainer")
    if installed:
        return installed
    install_packages()
    if _candidate("apptainer"):
        _install(["apptainer"])
        return str(shutil.which("apptainer"))
    key = _key(
        PREFIX_REVISION, " ".join(DEBS).encode(), build_image.release().encode(), platform.machine().encode()
    )
    prefix = _once(f"apptainer-{key}", _make_prefix)
    return str(prefix / "usr" / "bin" / "apptainer")


def provide_image(apptainer: str) -> str:
    """The image of assets/containers/jupyterlab.toml."""
    recipe = (build_image.RECIPE, build_image.LOCK, Path(build_image.__file__))
    texts = [path.read_bytes() for path in recipe]
    key = _key(*texts, build_image.release().encode(), platform.machine().encode())

    def make(out: Path) -> None:
        install_packages()
        try:
            build_image.build(out, apptainer)
        except build_image.BuildFailed as error:
            raise CannotProvide(f"the JupyterLab image can't be built: {error}") from error

    return str(_once(f"jupyterlab-{key}.sif", make))


def install_packages() -> None:
    """Install what is missing of PACKAGES."""
    missing = [name for name in PACKAGES if not _installed(name)]
    if missing:
        _install(missing)


def _make_prefix(out: Path) -> None:
    """Unpack apptainer and the libraries it needs newer than the release's, whole or not at all."""
    lib = LIB[platform.machine()]
    with tempfile.TemporaryDirectory(prefix="prefix-", dir=out.parent) as folder:
        work = Path(folder)
        for deb in _download_debs(work):
            _run(["dpkg-deb", "-x", str(deb), str(work / "root")])
        root = work / "root"
        # paths are compiled in relative to the program's prefix
        for name, target in (
            ("etc", "../etc"),
            ("var", "../var"),
            ("lib/etc", "../../etc"),
            ("lib/var", "../../var"),
        ):
            (root / "usr" / name).symlink_to(target)
        (root / "var" / "lib").mkdir(parents=True, exist_ok=True)
        loader = next((root / "usr" / "lib" / lib).glob("ld-linux-*.so.*")).name
        final = out / "usr" / "lib" / lib
        for program in ("bin/apptainer", f"lib/{lib}/apptainer/bin/starter"):
            _run(["patchelf", "--set-interpreter", str(final / loader), str(root / "usr" / program)])
            _run(["patchelf", "--force-rpath", "--set-rpath", str(final), str(root / "usr" / program)])
        for path in (root, *root.rglob("*")):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
        root.replace(out)


def _download_debs(work: Path) -> list[Path]:
    """Fetch DEBS of the unstable suite from this machine's own Debian mirror, with lists of their own."""
    lines = build_image.apt_targets()
    uris = [uri for uri, _, _, origin in lines if origin == "Debian" and "security" not in uri]
    if not uris:
        raise CannotProvide("this release has no apptainer: install it from its makers' packages")
    (work / "lists" / "partial").mkdir(parents=True)
    (work / "cache" / "archives" / "partial").mkdir(parents=True)
    debs = work / "debs"
    debs.mkdir()
    source = work / "unstable.list"
    source.write_text(f"deb [signed-by={KEYRING}] {uris[0]} sid main\n")
    options = [f"Dir::Etc::sourcelist={source}", "Dir::Etc::sourceparts=/dev/null", "APT::Sandbox::User=root"]
    options += [f"Dir::State::lists={work / 'lists'}", f"Dir::Cache={work / 'cache'}"]
    apt = ["apt-get", "-qq", *(word for option in options for word in ("-o", option))]
    _run([*apt, "update"])
    _run([*apt, "download", *DEBS], cwd=debs)
    return sorted(debs.glob("*.deb"))


def _once(name: str, make: Callable[[Path], None]) -> Path:
    """The cached path `name`, made by one process while others wait."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    path = folder / name
    with _lock(folder / f".{name}.lock"):
        if not path.exists():
            make(path)
    return path


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _key(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _installed(name: str) -> bool:
    done = subprocess.run(
        ["dpkg-query", "-W", "-f=${Status}", name], capture_output=True, text=True, check=False
    )
    return done.stdout == "install ok installed"


def _candidate(name: str) -> bool:
    out = subprocess.run(["apt-cache", "policy", name], capture_output=True, text=True, check=False).stdout
    return "Candidate: " in out and "Candidate: (none)" not in out


def _install(names: Sequence[str]) -> None:
    if os.getuid() != 0:
        raise CannotProvide(f"install these packages first: {' '.join(names)}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    if not all(_candidate(name) for name in names):
        _run(["apt-get", "-qq", "update"], env=env)
    # another part of the harness may be installing packages at this moment
    wait = ["-o", "DPkg::Lock::Timeout=300"]
    _run(["apt-get", "-qq", *wait, "install", "-y", "--no-install-recommends", *names], env=env)


def _run(argv: Sequence[str], **options: object) -> None:
    try:
        build_image.run(argv, **options)
    except build_image.BuildFailed as error:
        raise CannotProvide(str(error)) from error


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--prefix", action="store_true", help="only apptainer, not the image")
    given = parser.parse_args()
    try:
        print(json.dumps(asdict(provide(image=not given.prefix))))
    except CannotProvide as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
