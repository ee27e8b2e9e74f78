"""A machine's /proc and /sys in a folder: what the sampler reads, as Linux 6 and Slurm 22.05 to 26.05 lay it out."""

from __future__ import annotations

import os
from pathlib import Path

from backend.agent.sampler import Job, Sample, Sampler

V2 = "sys/fs/cgroup/system.slice/slurmstepd.scope"
MB = 1 << 20
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Machine:
    """Write what the kernel would show, then `look`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.put("proc/stat", "cpu  100 0 100 900 0 0 0 0 0 0\ncpu0 50 0 50 450 0 0 0 0\ncpu1 50 0 50 450 0 0 0 0\n")
        self.put(
            "proc/meminfo", "MemTotal: 1000 kB\nMemAvailable: 600 kB\nCached: 300 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n"
        )
        self.put("proc/loadavg", "1.50 1.00 0.50 2/100 4711\n")
        self.put("proc/net/dev", net(lo=(9, 9), eth0=(1000, 500)))
        self.put("proc/diskstats", "8 0 sda 1 0 8 1 1 0 16 1 0 1 1\n")
        self.put("proc/self/mounts", "proc /proc proc rw 0 0\n")
        self._sampler: Sampler | None = None

    def put(self, path: str, content: str) -> None:
        """Write one file."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)

    def unified(self) -> None:
        """Mount cgroup v2."""
        self.put("proc/self/mounts", "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n")

    def controllers(self, *names: str) -> None:
        """Mount these controllers of cgroup v1, one by one."""
        lines = (f"cgroup /sys/fs/cgroup/{name} cgroup rw,relatime,{name} 0 0\n" for name in names)
        self.put("proc/self/mounts", "".join(lines))

    def process(
        self, pid: int, parent: int, *, uid: int, title: str = "python\0train.py", cpu_s: float = 0.0,
        reaped_s: float = 0.0, start: int = 1, anonymous_pages: int = 0, threads: int = 1, **env: str,
    ) -> None:  # fmt: skip
        """A running process."""
        command = title.split("\0", maxsplit=1)[0].split(" ", maxsplit=1)[0].rstrip(":")
        ticks, reaped = round(cpu_s / TICK_S), round(reaped_s / TICK_S)
        fields = ["S", parent, *[0] * 9, ticks, 0, reaped, 0, 20, 0, threads, 0, start, 0, 0]
        self.put(f"proc/{pid}/stat", f"{pid} ({command}) {' '.join(str(field) for field in fields)}\n")
        self.put(f"proc/{pid}/status", f"Name:\t{command}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n")
        self.put(f"proc/{pid}/cmdline", title)
        self.put(f"proc/{pid}/environ", "".join(f"{name}={value}\0" for name, value in env.items()))
        self.put(f"proc/{pid}/statm", f"{anonymous_pages + 40} {anonymous_pages + 10} 10 1 0 1 0\n")
        self.put(f"proc/{pid}/io", "rchar: 1\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 0\n")

    def ends(self, pid: int) -> None:
        """The process is gone."""
        folder = self.root / "proc" / str(pid)
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()

    def v2_job(self, folder: str, *pids: int, cpu_s: float = 0.0, daemon: int | None = None) -> str:
        """A job's folder under cgroup v2, one batch step; gives its path."""
        base = f"{V2}/{folder}"
        self.put(f"{base}/cgroup.procs", "")
        self.put(f"{base}/step_batch/user/task_0/cgroup.procs", "".join(f"{pid}\n" for pid in pids))
        self.put(f"{base}/step_batch/slurm/cgroup.procs", f"{daemon}\n" if daemon else "")
        self.put(f"{base}/cpu.stat", f"usage_usec {round(cpu_s * 1e6)}\nuser_usec 1\nsystem_usec 1\n")
        self.put(f"{base}/cpuset.cpus.effective", "0-3,8\n")
        self.put(f"{base}/memory.stat", f"anon {10 * MB}\nfile {30 * MB}\nkernel 1\nshmem {5 * MB}\n")
        self.put(f"{base}/memory.peak", f"{50 * MB}\n")
        self.put(f"{base}/memory.max", f"{64 * MB}\n")
        self.put(f"{base}/memory.events", "low 0\nhigh 0\nmax 3\noom 2\noom_kill 1\noom_group_kill 0\n")
        self.put(
            f"{base}/io.stat", "8:0 rbytes=100 wbytes=200 rios=1 wios=2 dbytes=0 dios=0\n259:0 rbytes=1 wbytes=2\n"
        )
        self.put(f"{base}/pids.current", "17\n")
        return base

    def look(self, *jobs: int) -> Sample:
        """A sample; rates are since the last look."""
        if self._sampler is None:
            self._sampler = Sampler(jobs=jobs or None, gpus=(), root=str(self.root))
        return self._sampler.sample()


def net(**devices: tuple[int, int]) -> str:
    """/proc/net/dev."""
    rows = (f"  {name}: {got} 1 0 0 0 0 0 0 {sent} 1 0 0 0 0 0 0\n" for name, (got, sent) in devices.items())
    return "Inter-| Receive | Transmit\n face |bytes |bytes\n" + "".join(rows)


def only(sample: Sample) -> Job:
    """The sample's one job."""
    (job,) = sample.jobs
    return job
