"""A real Prometheus, of Debian's package without installing it, filled with the past by its own tool."""

from __future__ import annotations

import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.harness.images import cache_folder
from tests.harness.ports import free_port

PROGRAMS = ("prometheus", "promtool")
CONFIG = "global:\n  scrape_interval: 10s\nscrape_configs: []\n"


def programs(folder: Path) -> dict[str, str]:
    """Where the programs are: installed, or taken out of the package. Raises CalledProcessError."""
    installed = {name: shutil.which(name) for name in PROGRAMS}
    if all(installed.values()):
        return {name: str(path) for name, path in installed.items()}
    kept = cache_folder() / "prometheus"
    if not (kept / "usr" / "bin" / "promtool").exists():
        subprocess.run(["apt-get", "download", "prometheus"], cwd=folder, check=True, capture_output=True, timeout=240)
        (package,) = folder.glob("prometheus_*.deb")
        subprocess.run(["dpkg", "-x", str(package), str(folder / "root")], check=True, timeout=120)
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(kept, ignore_errors=True)
        shutil.move(folder / "root", kept)
    return {name: str(kept / "usr" / "bin" / name) for name in PROGRAMS}


@contextmanager
def prometheus(folder: Path, lines: Iterable[str]) -> Iterator[str]:
    """A server that has these samples (`name{labels} value time_s`); gives its address."""
    found = programs(folder)
    past, data = folder / "past.txt", folder / "data"
    past.write_text("\n".join([*lines, "# EOF", ""]))
    (folder / "prometheus.yml").write_text(CONFIG)
    subprocess.run(
        [found["promtool"], "tsdb", "create-blocks-from", "openmetrics", str(past), str(data)],
        check=True, capture_output=True, timeout=240,
    )  # fmt: skip
    port = free_port()
    server = subprocess.Popen(
        [found["prometheus"], f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={data}",
         f"--web.listen-address=127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL, stderr=(folder / "log").open("wb"),
    )  # fmt: skip
    try:
        _ready(f"http://127.0.0.1:{port}", server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def _ready(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/-/ready", timeout=5):
                return
        except (OSError, urllib.error.URLError):
            time.sleep(0.1)
    raise TimeoutError("Prometheus did not start")
