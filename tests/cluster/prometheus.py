"""A real Prometheus and a real VictoriaMetrics, of Debian's packages without installing them, filled with the past."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from backend.telemetry.store import Chunk
from tests.harness.images import cache_folder
from tests.harness.ports import free_port

CONFIG = "global:\n  scrape_interval: 10s\nscrape_configs: []\n"


def programs(package: str, names: Sequence[str], folder: Path) -> list[str]:
    """Where the programs are: installed, or taken out of the package. Skips the test where the system has no such
    package. Raises CalledProcessError."""
    installed = [path for path in map(shutil.which, names) if path]
    if len(installed) == len(names):
        return installed
    kept = cache_folder() / package
    kept.parent.mkdir(parents=True, exist_ok=True)
    with kept.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not all((kept / "usr" / "bin" / name).exists() for name in names):
            _unpack(package, folder, kept)
    return [str(kept / "usr" / "bin" / name) for name in names]


def _unpack(package: str, folder: Path, kept: Path) -> None:
    if subprocess.run(["apt-cache", "show", package], check=False, capture_output=True, timeout=60).returncode:
        pytest.skip(f"this system has no package {package}")
    subprocess.run(["apt-get", "download", package], cwd=folder, check=True, capture_output=True, timeout=240)
    (found,) = folder.glob(f"{package}_*.deb")
    subprocess.run(["dpkg", "-x", str(found), str(folder / "root")], check=True, timeout=120)
    shutil.rmtree(kept, ignore_errors=True)
    shutil.move(folder / "root", kept)


def exposed(chunks: Iterable[Chunk]) -> Iterator[str]:
    """What a store keeps as a server that scraped the nodes has it."""
    by_metric: dict[str, list[str]] = {}
    for chunk in chunks:
        key = chunk.key
        for name, values in zip(chunk.metrics, chunk.means.tolist(), strict=True):
            labels = {"cluster": key.cluster, "jobid": str(key.job_id), "node": key.node, "device": key.device,
                      "model": chunk.model, "instance": f"{key.node}:9419", "job": "carme"}  # fmt: skip
            told = ",".join(f'{label}="{value}"' for label, value in labels.items())
            by_metric.setdefault(name, []).extend(
                f"carme_job_{name}{{{told}}} {value} {at:.3f}"
                for at, value in zip(chunk.times_s.tolist(), values, strict=True)
            )
    for name, lines in by_metric.items():
        yield f"# TYPE carme_job_{name} gauge"
        yield from lines


@contextmanager
def prometheus(folder: Path, lines: Iterable[str]) -> Iterator[str]:
    """A server that has these samples (`name{labels} value time_s`); gives its address."""
    server, tool = programs("prometheus", ("prometheus", "promtool"), folder)
    past, data = folder / "past.txt", folder / "data"
    past.write_text("\n".join([*lines, "# EOF", ""]))
    (folder / "prometheus.yml").write_text(CONFIG)
    subprocess.run(
        [tool, "tsdb", "create-blocks-from", "openmetrics", str(past), str(data)],
        check=True, capture_output=True, timeout=240,
    )  # fmt: skip
    port = free_port()
    command = [server, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={data}",
               f"--web.listen-address=127.0.0.1:{port}"]  # fmt: skip
    with _running(command, folder / "log", f"http://127.0.0.1:{port}", "/-/ready") as url:
        yield url


@contextmanager
def victoriametrics(folder: Path, lines: Iterable[str]) -> Iterator[str]:
    """The same, of VictoriaMetrics set up as docs/telemetry.md says."""
    (server,) = programs("victoria-metrics", ("victoria-metrics",), folder)
    past = "\n".join(_in_milliseconds(line) for line in lines if not line.startswith("#"))
    port = free_port()
    command = [server, f"-storageDataPath={folder / 'data'}", f"-httpListenAddr=127.0.0.1:{port}",
               "-retentionPeriod=1y", "-search.latencyOffset=0s", "-memory.allowedBytes=256MB"]  # fmt: skip
    with _running(command, folder / "log", f"http://127.0.0.1:{port}", "/health") as url:
        for path, body in (("/api/v1/import/prometheus", past.encode()), ("/internal/force_flush", b"")):
            with urllib.request.urlopen(urllib.request.Request(url + path, body, method="POST"), timeout=240):
                pass
        yield url


def _in_milliseconds(line: str) -> str:
    told, _, at_s = line.rpartition(" ")
    return f"{told} {round(float(at_s) * 1000)}"


SERVERS = {"prometheus": prometheus, "victoriametrics": victoriametrics}


@contextmanager
def _running(command: Sequence[str], log: Path, url: str, ready: str) -> Iterator[str]:
    with log.open("wb") as told:
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=told)
    try:
        _wait(f"{url}{ready}", server)
        yield url
    finally:
        server.terminate()
        server.wait()


def _wait(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (OSError, urllib.error.URLError):
            time.sleep(0.1)
    raise TimeoutError(f"{url} did not answer")
