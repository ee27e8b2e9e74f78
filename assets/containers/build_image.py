#!/usr/bin/env python3
"""Build the JupyterLab image: `build_image.py OUT.sif [--apptainer PATH]` (about two minutes, 250 MB).

Needs mmdebstrap, squashfs-tools and apptainer, on Debian or Ubuntu, as root or as a person with
subordinate ids. Packages and wheels are fetched outside the image by the machine's own apt and pip, so
that neither mirror nor proxy, index or certificate of the machine is left in it.
"""

from __future__ import annotations

import argparse
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
RECIPE = HERE / "jupyterlab.toml"
LOCK = HERE / "jupyterlab.lock"
SIF_ARCH = {"x86_64": "2", "aarch64": "4"}
KEYRINGS = {
    "Debian": "/usr/share/keyrings/debian-archive-keyring.gpg",
    "Ubuntu": "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
}
OVERRIDES = (
    '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}}\n'
)
LEFT_OUT = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")


class BuildFailed(Exception):
    """The image can't be built; the message says what is missing or which step failed."""


def run(argv: Sequence[str], **options: object) -> str:
    """Run a step, quietly. Raises BuildFailed with the end of what it said."""
    done = subprocess.run(  # type: ignore[call-overload]
        list(argv), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options
    )
    if done.returncode != 0:
        raise BuildFailed(f"{argv[0]} failed with status {done.returncode}:\n{done.stdout[-3000:]}")
    return str(done.stdout)


def release() -> str:
    """The code name of this machine's release, such as bookworm."""
    return platform.freedesktop_os_release()["VERSION_CODENAME"]


def apt_targets() -> list[tuple[str, str, str, str]]:
    """This machine's own package sources: (address, suite, component, origin)."""
    names = ("REPO_URI", "RELEASE", "COMPONENT", "ORIGIN")
    form = "|".join(f"$({name})" for name in names)
    out = run(["apt-get", "indextargets", "--format", form, "Created-By: Packages"])
    rows = (line.split("|") for line in dict.fromkeys(out.splitlines()))
    return [(row[0], row[1], row[2], row[3]) for row in rows if len(row) == len(names)]


def apt_sources() -> str:
    """This machine's own sources of its release, for mmdebstrap."""
    lines = [
        f"deb [signed-by={KEYRINGS[origin]}] {uri} {suite} {component}"
        for uri, suite, component, origin in apt_targets()
        if origin in KEYRINGS and suite.startswith(release())
    ]
    if not lines:
        raise BuildFailed("apt knows no source of this release: run apt-get update first")
    return "\n".join(lines) + "\n"


def system_python() -> str:
    """Version of the release's python3, such as 3.11.2."""
    version = run(["apt-cache", "show", "--no-all-versions", "python3"])
    line = next(line for line in version.splitlines() if line.startswith("Version: "))
    return line.split()[1].partition("-")[0]


def download_wheels(folder: Path) -> None:
    """Fetch the locked wheels with this machine's pip, for the image's Python, and the lock beside them."""
    options = f"-qq --only-binary=:all: --no-deps --python-version {system_python()}".split()
    run([sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), "-r", str(LOCK)])
    shutil.copy(LOCK, folder / "lock")


def hooks(wheels: Path, overrides: Path) -> list[str]:
    """What is done inside the fresh root, as mmdebstrap options. `$1` is the root."""
    pip = next(wheels.glob("pip-*.whl")).name
    install = f"python3 /tmp/wheels/{pip}/pip install --quiet --no-index --no-compile"
    install += " --root-user-action=ignore --find-links /tmp/wheels -r /tmp/wheels/lock"
    settings = "/usr/local/share/jupyter/lab/settings"
    steps = [
        f"copy-in {shlex.quote(str(wheels))} /tmp",
        'rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED',
        f'chroot "$1" {install}',
        f'mkdir -p "$1{settings}"',
        f"copy-in {shlex.quote(str(overrides))} {settings}",
        # the image is read-only: without compiled files JupyterLab starts five seconds later
        'chroot "$1" sh -c "python3 -m compileall -q -j 0 /usr/lib/python3* /usr/local/lib/python3* || true"',
        'rm -rf "$1"/tmp/wheels "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/* "$1"/root/.cache',
        'rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/* "$1"/var/log/*',
        'rm -f "$1"/etc/apt/apt.conf.d/99mmdebstrap',
        ': > "$1"/etc/resolv.conf; echo localhost > "$1"/etc/hostname',
    ]
    return [f"--customize-hook={step}" for step in steps]


def build(out: Path, apptainer: str) -> None:
    """Build the image into `out`, replaced at once when it is whole. Raises BuildFailed."""
    for tool in ("mmdebstrap", "mksquashfs", apptainer):
        if shutil.which(tool) is None:
            raise BuildFailed(f"{tool} is needed")
    recipe = tomllib.loads(RECIPE.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory(prefix="image-", dir=out.parent) as folder:
        work = Path(folder)
        wheels = work / "wheels"
        wheels.mkdir()
        work.chmod(0o755)
        download_wheels(wheels)
        overrides = work / "overrides.json"
        overrides.write_text(OVERRIDES)
        run(
            ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(recipe['packages'])}"]
            + [f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT]
            + [*hooks(wheels, overrides), release(), str(work / "root.tar"), "-"],
            input=apt_sources(),
        )
        squash, image = work / "root.sqfs", work / "image.sif"
        with (work / "root.tar").open("rb") as tar:
            options = ["-tar", "-comp", "zstd", "-Xcompression-level", "3", "-quiet", "-no-progress"]
            run(["mksquashfs", "-", str(squash), *options], stdin=tar)
        run([apptainer, "sif", "new", str(image)])
        # 4: partition, 2: primary system, 1: squashfs
        arch = SIF_ARCH[platform.machine()]
        options = f"--datatype 4 --parttype 2 --partfs 1 --groupid 1 --partarch {arch}".split()
        run([apptainer, "sif", "add", *options, str(image), str(squash)])
        image.chmod(0o644)
        image.replace(out)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--apptainer", default="apptainer", help="the apptainer to write the file with")
    given = parser.parse_args()
    try:
        build(given.out.absolute(), given.apptainer)
    except BuildFailed as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
