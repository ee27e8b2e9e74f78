"""What a machine and its jobs are doing: GPUs, cgroups, processes, host, parallel file systems, as one `Sample`.

Standard library only, Python 3.9 or later. A metric that can't be had is None, with the reason in `Sample.missing`.
Parts: `model` (what a sample holds), `sampler` (the whole), `gpu` (what a vendor's library looks like), `nvml`, `gpm`
and `libnvml` (NVIDIA), `places` (where jobs are), `jobs` (one job), `processes`, `node`, `reading` (small files).
"""

from .gpu import GpuReader
from .model import FileSystem, Gpu, GpuProcess, Job, Missing, Node, Sample, Unavailable
from .sampler import Sampler, as_json

__all__ = [
    "FileSystem",
    "Gpu",
    "GpuProcess",
    "GpuReader",
    "Job",
    "Missing",
    "Node",
    "Sample",
    "Sampler",
    "Unavailable",
    "as_json",
]
