"""What sampling costs: CPU and memory of a process that only samples, with this machine's GPUs or eight pretend ones.

Against `nvidia-smi` asked for the same at the same pace, where there is one.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from backend.agent.telemetry.batch import node_key
from backend.sessions.certs import make_certificate
from backend.sessions.job import agent_zipapp
from tests.bench import Figure
from tests.unit.agent_kit import PYTHON, SESSION, StartedAgent, echo_app, spec_for
from tests.unit.push_kit import Receiver, receiver, until

EVERY_S = float(os.environ.get("CARME_BENCH_SAMPLER_EVERY", "1"))
COUNT = int(os.environ.get("CARME_BENCH_SAMPLER_COUNT", "20"))
AGENT_EVERY_S = 10
PRETEND_GPUS = 8
GOAL_MB = 35
NVIDIA_MB = 18.5
"""What NVIDIA's own library takes, as measured on an H100; the pretend one takes nothing."""
QUERY = "utilization.gpu,utilization.memory,memory.used,memory.total,power.draw,temperature.gpu,clocks.sm,clocks.mem"

CHILD = """
import json, sys, time
from backend.agent.sampler import Sampler, as_json
def memory():
    lines = open("/proc/self/smaps_rollup").read().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) for line in lines[1:] if line.split(":")[0] in ("Rss", "Pss")}
sampler = Sampler(gpus=() if sys.argv[3] == "none" else None)
for _ in range(2):  # what the first ones cost is paid once
    sampler.sample()
    time.sleep(0.2)
cpu_s, took_ms, gpus = [], [], 0
for _ in range(int(sys.argv[2])):
    time.sleep(float(sys.argv[1]))
    before = time.process_time()
    sample = sampler.sample()
    as_json(sample)
    cpu_s.append(time.process_time() - before)
    took_ms.append(sample.took_ms)
    gpus = len(sample.gpus)
print(json.dumps({"cpu_s": sum(cpu_s) / len(cpu_s), "took_ms": sorted(took_ms), "gpus": gpus, **memory()}))
"""


def measure(gpus: str, env: dict[str, str]) -> dict[str, float]:
    """Mean CPU seconds a sample, how long samples took, and the memory at the end in KiB."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(EVERY_S), str(COUNT), gpus],
        env=env, cwd=Path(__file__).parents[2], check=True, capture_output=True, text=True,
    )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout)
    return found


@contextlib.contextmanager
def door(folder: Path) -> Iterator[tuple[Receiver, Path]]:
    """A console as at a site, by TLS, and its certificate."""
    certificate, key, _ = make_certificate("localhost")
    trusted, both = folder / "console.pem", folder / "both.pem"
    trusted.write_text(certificate)
    both.write_text(key + certificate)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(both)
    with receiver(tls=tls) as record:
        yield record, trusted


def service(env: dict[str, str], folder: Path) -> dict[str, float]:
    """The same of the whole node service, which also sends: CPU seconds a look, and the memory at the end in KiB."""
    packed, key = folder / "agent.pyz", folder / "key"
    packed.write_bytes(agent_zipapp())
    key.touch(mode=0o600)
    key.write_text(node_key("m", "n1"))
    with door(folder) as (record, trusted):
        record.keys["node:n1"] = key.read_text()
        command = [PYTHON, "-I", str(packed), "node", "--node", "n1", "--console", record.url, "--ca", str(trusted)]
        process = subprocess.Popen(
            [*command, "--key-file", str(key), "--every", str(EVERY_S)], env=env, stdout=subprocess.DEVNULL
        )
        try:
            return _watched(process.pid, record)
        finally:
            process.terminate()
            process.wait()


def session(env: dict[str, str], folder: Path) -> dict[str, float]:
    """The same of a session's agent, with its gateway and an app that does nothing."""
    with door(folder) as (record, trusted):
        ca_pem = trusted.read_text()
        spec = spec_for(record.url, echo_app(folder), sample_every_s=EVERY_S, console_ca_pem=ca_pem)
        record.keys[f"session:{SESSION}"] = spec.secret
        job = {"SLURM_JOB_ID": str(2_000_000_000 + os.getpid()), "SLURMD_NODENAME": "n1"}
        with StartedAgent(folder, spec, **{**env, **job}) as agent:
            return _watched(agent.process.pid, record)


def _watched(pid: int, record: Receiver) -> dict[str, float]:
    until(lambda: record.batches)  # what the first looks cost is left out
    time.sleep(5)
    before, began = _cpu_s(pid), time.monotonic()
    time.sleep(EVERY_S * COUNT)
    used = (_cpu_s(pid) - before) / ((time.monotonic() - began) / EVERY_S)
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
    found = {line.split(":")[0]: float(line.split()[1]) for line in lines}
    return {"cpu_s": used, "Private": found["Private_Clean"] + found["Private_Dirty"], **found}


def smi_cpu_s() -> float:
    """CPU seconds nvidia-smi takes for each line it prints at this pace."""
    asked = [f"--query-gpu={QUERY}", "--format=csv", "-lms", str(round(EVERY_S * 1000))]
    process = subprocess.Popen(["nvidia-smi", *asked], stdout=subprocess.DEVNULL)
    time.sleep(2)  # what starting costs is left out
    before = _cpu_s(process.pid)
    began = time.monotonic()
    time.sleep(EVERY_S * COUNT)
    used, rounds = _cpu_s(process.pid) - before, (time.monotonic() - began) / EVERY_S
    process.terminate()
    process.wait()
    return used / rounds


def smi_once_cpu_s() -> float:
    """CPU seconds of one call of nvidia-smi, as a script that starts it for each sample pays them."""
    before = os.times()
    for _ in range(COUNT):
        subprocess.run(["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv"], check=True, capture_output=True)
    after = os.times()
    return (after.children_user + after.children_system - before.children_user - before.children_system) / COUNT


def figures() -> Iterator[Figure]:
    smi = shutil.which("nvidia-smi")
    with contextlib.ExitStack() as until_end:
        env = dict(os.environ)
        if smi is None:
            from tests.harness import nvml

            folder = Path(until_end.enter_context(tempfile.TemporaryDirectory(prefix="carme-bench-")))
            env |= {"LD_LIBRARY_PATH": str(nvml.build(folder)), "NVML_SHIM_GPUS": str(PRETEND_GPUS)}
        found, bare = measure("all", env), measure("none", env)
        sending = {}
        for name, run in (("node_service", service), ("session_agent", session)):
            place = until_end.enter_context(tempfile.TemporaryDirectory(prefix="carme-bench-"))
            sending[name] = run(env, Path(place))
    gpus = int(found["gpus"])
    kind = f"{gpus} {'pretend ' if smi is None else ''}GPU{'' if gpus == 1 else 's'}"
    percent = 100 / AGENT_EVERY_S
    goal = f"<= {GOAL_MB if smi else GOAL_MB - NVIDIA_MB}"
    each_s = (found["cpu_s"] - bare["cpu_s"]) / gpus
    eight = (bare["cpu_s"] + each_s * PRETEND_GPUS) * percent
    yield Figure("sampler_cpu_percent", eight, "%", "<= 0.3", f"8 GPUs every {AGENT_EVERY_S} s, from {kind}")
    yield Figure("sampler_cpu_ms_per_gpu", each_s * 1000, "ms", "", kind)
    yield Figure("sampler_cpu_ms_without_gpus", bare["cpu_s"] * 1000, "ms", "", "node and jobs")
    yield Figure("sampler_took_ms", _median(found["took_ms"]), "ms", "", kind)
    yield Figure("sampler_rss_mb", found["Rss"] / 1024, "MB", goal, kind)
    yield Figure("sampler_pss_mb", found["Pss"] / 1024, "MB", "", kind)
    yield Figure("sampler_rss_mb_without_gpus", bare["Rss"] / 1024, "MB", "", "node and jobs")
    for name, found in sending.items():
        yield Figure(f"{name}_cpu_percent", found["cpu_s"] * percent, "%", "<= 0.3", f"sends, every 10 s, {kind}")
        yield Figure(f"{name}_rss_mb", found["Rss"] / 1024, "MB", goal, f"{kind}, sends by TLS")
        yield Figure(f"{name}_pss_mb", found["Pss"] / 1024, "MB", "", kind)
        yield Figure(f"{name}_private_mb", found["Private"] / 1024, "MB", "", kind)
    if smi:
        yield Figure("nvidia_smi_loop_cpu_percent", smi_cpu_s() * percent, "%", "", f"-lms, {kind}")
        yield Figure("nvidia_smi_each_cpu_percent", smi_once_cpu_s() * percent, "%", "", f"started each time, {kind}")


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _median(values: object) -> float:
    assert isinstance(values, list)
    return float(values[len(values) // 2])
