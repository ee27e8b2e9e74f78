"""What sampling costs: CPU and memory of a process that only samples, with this machine's GPUs or eight pretend ones.

Against `nvidia-smi` asked for the same at the same pace, where there is one.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench import Figure

EVERY_S = float(os.environ.get("CARME_BENCH_SAMPLER_EVERY", "1"))
COUNT = int(os.environ.get("CARME_BENCH_SAMPLER_COUNT", "20"))
AGENT_EVERY_S = 10
PRETEND_GPUS = 8
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


def service(env: dict[str, str], folder: Path) -> dict[str, float]:
    """The same of the whole node service, which also sends: CPU seconds a look, and the memory at the end in KiB."""
    from backend.agent.telemetry.batch import node_key
    from backend.sessions.job import agent_zipapp
    from tests.unit.push_kit import receiver

    packed, key = folder / "agent.pyz", folder / "key"
    packed.write_bytes(agent_zipapp())
    key.touch(mode=0o600)
    key.write_text(node_key("m", "n1"))
    with receiver() as door:
        door.keys["node:n1"] = key.read_text()
        command = [sys.executable, "-I", str(packed), "node", "--node", "n1", "--console", door.url]
        process = subprocess.Popen(
            [*command, "--key-file", str(key), "--every", str(EVERY_S)], env=env, stdout=subprocess.DEVNULL
        )
        try:
            time.sleep(5)  # what the first looks cost is left out
            before, began = _cpu_s(process.pid), time.monotonic()
            time.sleep(EVERY_S * COUNT)
            used = (_cpu_s(process.pid) - before) / ((time.monotonic() - began) / EVERY_S)
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
        finally:
            process.terminate()
            process.wait()
    return {"cpu_s": used, **{line.split(":")[0]: float(line.split()[1]) for line in lines}}


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
        sending = service(env, Path(until_end.enter_context(tempfile.TemporaryDirectory(prefix="carme-bench-"))))
    gpus = int(found["gpus"])
    kind = f"{gpus} {'pretend ' if smi is None else ''}GPU{'' if gpus == 1 else 's'}"
    percent = 100 / AGENT_EVERY_S
    each_s = (found["cpu_s"] - bare["cpu_s"]) / gpus
    eight = (bare["cpu_s"] + each_s * PRETEND_GPUS) * percent
    yield Figure("sampler_cpu_percent", eight, "%", "<= 0.3", f"8 GPUs every {AGENT_EVERY_S} s, from {kind}")
    yield Figure("sampler_cpu_ms_per_gpu", each_s * 1000, "ms", "", kind)
    yield Figure("sampler_cpu_ms_without_gpus", bare["cpu_s"] * 1000, "ms", "", "node and jobs")
    yield Figure("sampler_took_ms", _median(found["took_ms"]), "ms", "", kind)
    yield Figure("sampler_rss_mb", found["Rss"] / 1024, "MB", "<= 35", kind)
    yield Figure("sampler_pss_mb", found["Pss"] / 1024, "MB", "", kind)
    yield Figure("sampler_rss_mb_without_gpus", bare["Rss"] / 1024, "MB", "", "node and jobs")
    yield Figure("node_service_cpu_percent", sending["cpu_s"] * percent, "%", "<= 0.3", f"sends, every 10 s, {kind}")
    yield Figure("node_service_rss_mb", sending["Rss"] / 1024, "MB", "<= 35", kind)
    yield Figure("node_service_pss_mb", sending["Pss"] / 1024, "MB", "", kind)
    if smi:
        yield Figure("nvidia_smi_loop_cpu_percent", smi_cpu_s() * percent, "%", "", f"-lms, {kind}")
        yield Figure("nvidia_smi_each_cpu_percent", smi_once_cpu_s() * percent, "%", "", f"started each time, {kind}")


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _median(values: object) -> float:
    assert isinstance(values, list)
    return float(values[len(values) // 2])
