"""Pretend GPUs that can be seen at work: an NVML library inside the cluster, and what each node's devices do.

What runs on a node finds the library as any other, and its node's devices by SLURMD_NODENAME; a process without that
name sees no GPU. `set` changes what the devices of a node do, while they are looked at.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.harness import daemons, kernel, nvml
from tests.harness.slurm import NODES

MODELS = {"a100": "NVIDIA_A100-SXM4-80GB", "h100": "NVIDIA_H100_80GB_HBM3"}


def install(folder: Path) -> None:
    """Build the library and let the loader find it. Inside the cluster's namespace, whose /etc is its own."""
    (folder / "nvml").mkdir(mode=0o755)
    (folder / "gpus").mkdir(mode=0o755)
    nvml.build(folder / "nvml", folder / "gpus")
    for node in NODES:
        set_state(folder, node.name)
    cache = Path("/var/cache/ldconfig")
    if cache.is_dir():  # the machine's own stays as it is
        kernel.mount("tmpfs", str(cache), "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=700,size=8m")
    Path("/etc/ld.so.conf.d/carme-nvml.conf").write_text(f"{folder}/nvml\n")
    subprocess.run(["/sbin/ldconfig", "-X"], check=True, env=daemons.CLEAN, stderr=subprocess.DEVNULL)


def set_state(folder: Path, node: str, *lines: str) -> None:
    """What the devices of a node do from now on: lines `DEVICE KEY VALUE` as nvml_shim.c explains them."""
    spec = next(each for each in NODES if each.name == node)
    known = [f"* gpus {spec.gpus}", *([f"* model {MODELS[spec.gpu_type]}"] if spec.gpus else [])]
    new = folder / "gpus" / f".{node}.new"
    new.write_text("\n".join([*known, *lines]) + "\n")
    new.chmod(0o644)
    new.replace(folder / "gpus" / node)
