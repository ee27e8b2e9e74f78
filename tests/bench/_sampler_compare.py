"""The sampler beside nvidia-smi on a real GPU under a known load: `python -m tests.bench._sampler_compare OUT`.

Needs PyTorch with CUDA. The load goes idle → matrix products → memory filled → copies to the GPU → idle, each
PHASE_S long. Writes what was seen to OUT/compare.json and prints the comparison as a table.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from backend.agent.sampler import Gpu, Sampler

PHASE_S = 15
JOB_ID = "4242"
SETTLE_S = 2
"""Left out at both ends of a phase: the load is between two states."""
PHASES = ("idle", "products", "memory", "copies", "idle again")
MIB = 1024 * 1024
METRICS = {  # nvidia-smi's name: what it is in our sample
    "utilization.gpu": lambda gpu: gpu.utilisation_percent,
    "utilization.memory": lambda gpu: gpu.memory_utilisation_percent,
    "memory.used": lambda gpu: gpu.memory_used_bytes / MIB,
    "memory.reserved": lambda gpu: gpu.memory_reserved_bytes / MIB,
    "memory.total": lambda gpu: gpu.memory_total_bytes / MIB,
    "power.draw": lambda gpu: gpu.power_w,
    "enforced.power.limit": lambda gpu: gpu.power_limit_w,
    "temperature.gpu": lambda gpu: gpu.temperature_c,
    "clocks.sm": lambda gpu: gpu.sm_clock_mhz,
    "clocks.mem": lambda gpu: gpu.memory_clock_mhz,
}
OURS = (
    "busy_percent", "sm_percent", "tensor_percent", "memory_bandwidth_percent", "pcie_receive_bytes_per_s",
    "pcie_send_bytes_per_s", "nvlink_receive_bytes_per_s",
)  # fmt: skip
LOAD = """
import sys, time, torch
phase_s = float(sys.argv[1])
def until():
    return time.time() + phase_s
a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16); b = torch.randn_like(a)
host = torch.empty(1 << 28, dtype=torch.uint8).pin_memory()
device = torch.empty(1 << 28, dtype=torch.uint8, device="cuda")
a @ b; device.copy_(host); torch.cuda.synchronize()
print("products", time.time(), flush=True); end, n, began = until(), 0, time.time()
while time.time() < end:
    for _ in range(20):
        a @ b
    torch.cuda.synchronize(); n += 20
print("figure products_tflops", n * 2 * 8192**3 / (time.time() - began) / 1e12, flush=True)
print("memory", time.time(), flush=True); end = until()
free = torch.cuda.mem_get_info()[0]
block = torch.empty(free - (2 << 30), dtype=torch.uint8, device="cuda"); block.fill_(1); torch.cuda.synchronize()
print("figure filled_mib", block.numel() / 2**20, flush=True)
time.sleep(max(0, end - time.time()))
del block; torch.cuda.empty_cache()
print("copies", time.time(), flush=True); end, moved, began = until(), 0, time.time()
while time.time() < end:
    device.copy_(host); torch.cuda.synchronize(); moved += 1 << 28
print("figure copied_bytes_per_s", moved / (time.time() - began), flush=True)
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench._sampler_compare", description=__doc__)
    parser.add_argument("out", type=Path)
    out: Path = parser.parse_args().out
    names = list(METRICS)
    query = ["nvidia-smi", f"--query-gpu=timestamp,clocks_event_reasons.active,{','.join(names)}"]
    lines, terminal = pty.openpty()  # into a pipe its lines could come in lumps
    smi = subprocess.Popen([*query, "--format=csv,noheader,nounits", "-lms", "1000"], stdout=terminal)
    told_lines = os.fdopen(lines, encoding="ascii")
    sampler = Sampler()
    sampler.sample()
    began_s = time.time()
    marks, facts, rows = [("idle", began_s)], {}, []
    load: subprocess.Popen[str] | None = None
    smi_pids: set[tuple[int, str]] = set()
    our_pids: set[tuple[int, str, int | None]] = set()
    while True:
        line = told_lines.readline()  # it sets the pace: a sample follows each of its lines at once
        sample = sampler.sample()
        now_s = time.time()
        rows.append((now_s, line, sample.gpus[0], sample.took_ms))
        if load is None and now_s > began_s + PHASE_S:
            load = subprocess.Popen(
                [sys.executable, "-c", LOAD, str(PHASE_S)],
                env=os.environ | {"SLURM_JOB_ID": JOB_ID},
                stdout=subprocess.PIPE,
                text=True,
            )
            marks.append(("load starts", now_s))
        if load is not None and len(rows) % 10 == 0:
            asked = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
            told = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.splitlines()
            smi_pids |= {(int(pid), used.strip()) for pid, used in (row.split(",") for row in told)}
            fresh = sampler.sample().gpus[0].processes or ()
            our_pids |= {(one.pid, str((one.memory_bytes or 0) // MIB), one.job_id) for one in fresh}
        if load is not None and load.poll() is not None and now_s > marks[-1][1] + PHASE_S:
            if marks[-1][0] == "idle again":
                break
            assert load.stdout is not None and load.returncode == 0
            for said in load.stdout:
                words = said.split()
                if words[0] == "figure":
                    facts[words[1]] = float(words[2])
                else:
                    marks.append((words[0], float(words[1])))
            marks.append(("idle again", now_s))
    smi.terminate()
    sampler.close()
    report(names, marks, rows)
    print("load:", json.dumps(facts), "pid", load.pid)
    print("processes by nvidia-smi (pid, MiB):", sorted(smi_pids))
    print("processes by the sampler (pid, MiB, job):", sorted(our_pids))
    seen = [[at, line, gpu.__dict__ | {"processes": len(gpu.processes or ())}, took] for at, line, gpu, took in rows]
    (out / "compare.json").write_text(json.dumps({"marks": marks, "rows": seen}))
    return 0


def report(names: Sequence[str], marks: list[tuple[str, float]], rows: list[tuple[float, str, Gpu, float]]) -> None:
    """Per phase: both means; then over everything the differences of the pairs."""
    pairs: dict[str, list[tuple[str, float, float]]] = {name: [] for name in names}
    ours: dict[str, dict[str, list[float]]] = {}
    reasons: dict[str, dict[str, set[str]]] = {}
    for at_s, line, gpu, _ in rows:
        began = [mark for mark in marks if mark[1] <= at_s]
        after = next((mark[1] for mark in marks if mark[1] > at_s), at_s + 99)
        if not began or at_s - began[-1][1] < SETTLE_S or after - at_s < SETTLE_S:
            continue
        phase = began[-1][0]
        if phase not in PHASES:
            continue
        _, bits, *values = [part.strip() for part in line.split(",")]
        reasons.setdefault(phase, {}).setdefault(bits, set()).add(", ".join(gpu.throttle_reasons or ()))
        for name, value in zip(names, values, strict=True):
            pairs[name].append((phase, float(value), float(METRICS[name](gpu))))
        for name in OURS:
            value = getattr(gpu, name)
            if value is not None:
                ours.setdefault(name, {}).setdefault(phase, []).append(value)
    print("| metric |", " | ".join(PHASES), "| mean diff | max diff | pairs |")
    for name, found in pairs.items():
        cells = []
        for phase in PHASES:
            mine = [(smi, us) for where, smi, us in found if where == phase]
            cells.append(
                f"{statistics.mean(smi for smi, _ in mine):.1f} / {statistics.mean(us for _, us in mine):.1f}"
                if mine
                else "–"
            )
        off = [abs(smi - us) for _, smi, us in found]
        print(f"| {name} |", " | ".join(cells), f"| {statistics.mean(off):.2f} | {max(off):.2f} | {len(off)} |")
    for name, phases in ours.items():
        print(
            f"| {name} |",
            " | ".join(f"{statistics.mean(phases[at]):.2f}" if at in phases else "–" for at in PHASES),
            "|",
        )
    for phase, found in reasons.items():
        print(f"reasons {phase}:", {bits: sorted(words) for bits, words in found.items()})
    took = sorted(row[3] for row in rows)
    print(f"a sample took {took[len(took) // 2]:.1f} ms in the middle, {took[-1]:.1f} at most, of {len(took)}")


if __name__ == "__main__":
    sys.exit(main())
