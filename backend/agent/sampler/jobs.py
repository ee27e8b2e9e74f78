"""One job's use of this node: from its cgroup where the kernel counts there, metric by metric else from its processes.

cgroup files: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/{cpuacct,memory,blkio-controller}.rst of Linux.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from .model import Job, Missing, Unavailable
from .places import Place
from .processes import Process, Processes, Tally
from .reading import Rates, ask, available, device_bytes, keyed, listed, natural

_NO_LIMIT_BYTES = 1 << 60
"""v1 writes "no limit" as the largest multiple of a page."""
_NO_CGROUP = "this job has no cgroup, and its processes don't tell"


class JobReader:
    """Reads one job again and again: CPU time and peak are carried over processes that end."""

    def __init__(self, processes: Processes, rates: Rates) -> None:
        self._processes, self._rates = processes, rates
        self._tally = Tally()
        self._peak_bytes = 0

    def read(self, place: Place, table: Mapping[int, Process] | None, missing: Missing) -> Job:
        """`table` is the process table where one was read, else the job's processes are looked up."""
        name = place.sluid if place.job_id is None else place.job_id
        kernel = _FORMS[place.source](place.folders)
        now: dict[int, Process] = {}

        def live() -> dict[int, Process]:
            if not now:
                looked = ((pid, table.get(pid) if table else self._processes.one(pid)) for pid in place.pids)
                now.update((pid, process) for pid, process in looked if process is not None)
            return now

        def metric(what: str, *questions: Callable[[], Any]) -> Any:
            """The first answer; if there is none, why the first question had none."""
            why = ""
            for question in questions:
                try:
                    return question()
                except Unavailable as reason:
                    why = why or str(reason)
            missing[f"job.{name}.{what}"] = why
            return None

        def rate(what: str, counter: float | None) -> float | None:
            key = f"job {name} {what}"
            return metric(what, lambda: self._rates.per_s(key, counter, at_s))

        cpus = metric("cpus", kernel.cpus, lambda: self._told_cpus(place))
        at_s = time.monotonic()
        cpu_s = metric("cpu_s", kernel.cpu_s, lambda: self._tally.cpu_s(live()))
        cores = rate("cpu_cores", cpu_s)
        if cores is None or cpus is None:
            missing[f"job.{name}.cpu_per_core"] = missing[f"job.{name}.{'cpus' if cpus is None else 'cpu_cores'}"]
        resident = metric("memory_resident_bytes", kernel.resident, lambda: self._resident(live()))
        block = metric("block_read_bytes", kernel.block, lambda: self._block(live()))
        if block is None:
            missing[f"job.{name}.block_write_bytes"] = missing[f"job.{name}.block_read_bytes"]
        read, written = block or (None, None)
        received, sent = ask(missing, f"job.{name}.network_receive_bytes_per_s", lambda: self._network(place)) or (
            None,
            None,
        )
        if received is None:
            missing[f"job.{name}.network_send_bytes_per_s"] = missing[f"job.{name}.network_receive_bytes_per_s"]
        return Job(
            job_id=place.job_id,
            sluid=place.sluid,
            source=place.source,
            cpus=cpus,
            cpu_s=cpu_s,
            cpu_cores=cores,
            cpu_per_core=cores / cpus if cores is not None and cpus is not None else None,
            memory_resident_bytes=resident,
            memory_cache_bytes=metric("memory_cache_bytes", kernel.cache),
            memory_peak_bytes=metric("memory_peak_bytes", kernel.peak, lambda: self._peak(resident)),
            memory_limit_bytes=metric("memory_limit_bytes", kernel.limit, lambda: self._told_limit(place, cpus)),
            oom_kills=metric("oom_kills", kernel.oom_kills),
            block_read_bytes=read,
            block_write_bytes=written,
            block_read_bytes_per_s=rate("block_read_bytes_per_s", read),
            block_write_bytes_per_s=rate("block_write_bytes_per_s", written),
            network_receive_bytes_per_s=None if received is None else rate("network_receive_bytes_per_s", received),
            network_send_bytes_per_s=None if sent is None else rate("network_send_bytes_per_s", sent),
            processes=len(place.pids),
            threads=metric("threads", kernel.threads, lambda: sum(process.threads for process in live().values())),
        )

    def _told_cpus(self, place: Place) -> int:
        for pid in sorted(place.pids):
            cpus = natural(self._processes.environment(pid).get("SLURM_CPUS_ON_NODE", ""))
            if cpus:
                return cpus
        raise Unavailable("no process of the job tells SLURM_CPUS_ON_NODE")

    def _told_limit(self, place: Place, cpus: int | None) -> int:
        """What it asked for, in MB, where that is held without a cgroup; 0 stands for all the node has."""
        for pid in sorted(place.pids):
            told = self._processes.environment(pid)
            for name, times in (("SLURM_MEM_PER_NODE", 1), ("SLURM_MEM_PER_CPU", cpus or 0)):
                value = natural(told.get(name, ""), digits=12)
                if value and times:
                    return value * times << 20
        raise Unavailable(_NO_CGROUP)

    def _resident(self, live: Mapping[int, Process]) -> int:
        return sum(self._processes.anonymous_bytes(pid) for pid in live)

    def _peak(self, resident: int | None) -> int:
        """The most that was seen: what lies between two samples is not in it."""
        if resident is None:
            raise Unavailable(_NO_CGROUP)
        self._peak_bytes = max(self._peak_bytes, resident)
        return self._peak_bytes

    def _block(self, live: Mapping[int, Process]) -> tuple[int, int]:
        found = [self._processes.block_bytes(pid) for pid in live]
        told = [pair for pair in found if pair is not None]
        if not told:
            raise Unavailable("no process of the job may be looked at (/proc/PID/io)")
        return sum(read for read, _ in told), sum(written for _, written in told)

    def _network(self, place: Place) -> tuple[int, int]:
        """The kernel counts traffic by network namespace, not by cgroup."""
        own = self._processes.network_space("self")
        for pid in sorted(place.pids):
            space = self._processes.network_space(pid)
            if space is not None:
                if space == own:
                    raise Unavailable("the job shares the node's network, which counts for all together")
                return device_bytes(self._processes.network_text(pid), leave_out=("lo",))
        raise Unavailable("no process of the job may be looked at (/proc/PID/ns/net)")


class _Kernel:
    """What the kernel counts for a job. The base is a job without cgroup."""

    def __init__(self, folders: Mapping[str, str]) -> None:
        self._folders = folders

    def cpus(self) -> int:
        raise Unavailable(_NO_CGROUP)

    def cpu_s(self) -> float:
        raise Unavailable(_NO_CGROUP)

    def resident(self) -> int:
        raise Unavailable(_NO_CGROUP)

    def cache(self) -> int:
        raise Unavailable("only a cgroup counts file cache, and this job has none with memory")

    def peak(self) -> int:
        raise Unavailable(_NO_CGROUP)

    def limit(self) -> int:
        raise Unavailable("no cgroup limits this job's memory")

    def oom_kills(self) -> int:
        raise Unavailable("only a cgroup counts these, and this job has none with memory")

    def block(self) -> tuple[int, int]:
        raise Unavailable(_NO_CGROUP)

    def threads(self) -> int:
        raise Unavailable(_NO_CGROUP)

    def _file(self, controller: str, name: str) -> str:
        folder = self._folders.get(controller)
        if folder is None:
            raise Unavailable(f"Slurm keeps no {controller} folder for this job")
        return available(f"{folder}{name}")


def _of(values: Mapping[str, int], *names: str) -> int:
    absent = [name for name in names if name not in values]
    if absent:
        raise Unavailable(f"this kernel counts no {absent[0]}")
    return sum(values[name] for name in names)


class _Unified(_Kernel):
    """cgroup v2."""

    def cpus(self) -> int:
        return _counted(self._file("unified", "cpuset.cpus.effective"))

    def cpu_s(self) -> float:
        return _of(keyed(self._file("unified", "cpu.stat")), "usage_usec") / 1e6

    def resident(self) -> int:
        return _of(keyed(self._file("unified", "memory.stat")), "anon", "shmem")

    def cache(self) -> int:
        values = keyed(self._file("unified", "memory.stat"))
        return max(0, _of(values, "file") - _of(values, "shmem"))

    def peak(self) -> int:
        return int(self._file("unified", "memory.peak"))

    def limit(self) -> int:
        limit = self._file("unified", "memory.max").strip()
        if limit == "max":
            raise Unavailable("the job's cgroup has no memory limit")
        return int(limit)

    def oom_kills(self) -> int:
        return _of(keyed(self._file("unified", "memory.events")), "oom_kill")

    def block(self) -> tuple[int, int]:
        read = written = 0
        for line in self._file("unified", "io.stat").split("\n"):
            values = dict(part.split("=", 1) for part in line.split()[1:] if "=" in part)
            read += int(values.get("rbytes", 0))
            written += int(values.get("wbytes", 0))
        return read, written

    def threads(self) -> int:
        return int(self._file("unified", "pids.current"))


class _Controllers(_Kernel):
    """cgroup v1."""

    def cpus(self) -> int:
        return _counted(self._file("cpuset", "cpuset.cpus"))

    def cpu_s(self) -> float:
        return int(self._file("cpuacct", "cpuacct.usage")) / 1e9

    def resident(self) -> int:
        values = keyed(self._file("memory", "memory.stat"))
        return _of(values, "total_rss") + values.get("total_shmem", 0)

    def cache(self) -> int:
        values = keyed(self._file("memory", "memory.stat"))
        return max(0, _of(values, "total_cache") - values.get("total_shmem", 0))

    def peak(self) -> int:
        return int(self._file("memory", "memory.max_usage_in_bytes"))

    def limit(self) -> int:
        limit = int(self._file("memory", "memory.limit_in_bytes"))
        if limit >= _NO_LIMIT_BYTES:
            raise Unavailable("the job's cgroup has no memory limit")
        return limit

    def oom_kills(self) -> int:
        return _of(keyed(self._file("memory", "memory.oom_control")), "oom_kill")

    def block(self) -> tuple[int, int]:
        sums = {"Read": 0, "Write": 0}
        for line in self._file("blkio", "blkio.throttle.io_service_bytes_recursive").split("\n"):
            fields = line.split()
            if len(fields) == 3 and fields[1] in sums:
                sums[fields[1]] += int(fields[2])
        return sums["Read"], sums["Write"]

    def threads(self) -> int:
        return int(self._file("pids", "pids.current"))


def _counted(cpus: str) -> int:
    number = listed(cpus)
    if not number:
        raise Unavailable("the job's cpuset is empty")
    return number


_FORMS: Mapping[str, Callable[[Mapping[str, str]], _Kernel]] = {
    "cgroup v2": _Unified,
    "cgroup v1": _Controllers,
    "processes": _Kernel,
}
