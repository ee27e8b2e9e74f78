"""The whole machine, and its parallel file systems' clients."""

from __future__ import annotations

import glob
import os
import time
from functools import partial
from typing import Any

from .model import FileSystem, Missing, Node, Unavailable
from .reading import Rates, ask, available, device_bytes, keyed

_SECTOR_BYTES = 512
"""The unit of /proc/diskstats, whatever the device's own sector size."""
_INFINIBAND_UNIT_BYTES = 4
"""port_rcv_data and port_xmit_data count in units of four bytes (InfiniBand specification, PortCounters)."""
_MEMORY = {
    "memory_total_bytes": "MemTotal",
    "memory_available_bytes": "MemAvailable",
    "memory_cache_bytes": "Cached",
    "swap_used_bytes": "SwapUsed",
}
"""What /proc/meminfo calls it; SwapUsed is ours."""
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_LUSTRE = ("/proc/fs/lustre/llite", "/sys/kernel/debug/lustre/llite")
"""Where a Lustre client keeps its `stats`: before 2.12 readable by all, since then by root."""


class NodeReader:
    """Totals of the machine, read again and again."""

    def __init__(self, root: str, rates: Rates) -> None:
        self._root, self._rates = root.rstrip("/"), rates

    def read(self, missing: Missing) -> Node:
        at_s = time.monotonic()

        def rate(name: str, counter: float | None) -> Any:
            return ask(missing, f"node.{name}", lambda: self._rates.per_s(f"node {name}", counter, at_s))

        busy = ask(missing, "node.cpus", self._cpu)
        if busy is None:
            missing["node.cpu_cores"] = missing["node.cpus"]
        memory = self._memory(missing)
        flows: dict[str, Any] = {}
        for names, question in (
            (("network_receive_bytes_per_s", "network_send_bytes_per_s"), self._network),
            (("infiniband_receive_bytes_per_s", "infiniband_send_bytes_per_s"), self._infiniband),
            (("block_read_bytes_per_s", "block_write_bytes_per_s"), self._disks),
        ):
            try:
                flows.update((name, rate(name, counter)) for name, counter in zip(names, question()))  # noqa: B905
            except Unavailable as reason:
                missing.update((f"node.{name}", str(reason)) for name in names)
        return Node(
            cpus=busy and busy[0],
            cpu_cores=None if busy is None else rate("cpu_cores", busy[1]),
            load_1=ask(missing, "node.load_1", lambda: float(available(f"{self._root}/proc/loadavg").split()[0])),
            **memory,
            **flows,
        )

    def file_systems(self, missing: Missing) -> list[FileSystem]:
        """Lustre by its client's counters. BeeGFS's client keeps none: that it is there is said, and why."""
        found = []
        for folder in sorted(path for base in _LUSTRE for path in glob.glob(f"{self._root}{base}/*/")):  # noqa: PTH207
            name = folder.rstrip("/").rpartition("/")[2].partition("-")[0]
            path = f"file_system.{name}"
            values = ask(missing, path, partial(_lustre, f"{folder}stats"))
            found.append(self._counted("lustre", name, values or {}, missing if values is not None else Missing()))
        for folder in sorted(glob.glob(f"{self._root}/proc/fs/beegfs/*/")):  # noqa: PTH207
            name = folder.rstrip("/").rpartition("/")[2]
            missing[f"file_system.{name}"] = "BeeGFS's client keeps no byte counters; its servers do"
            found.append(FileSystem("beegfs", name))
        return found

    def _counted(self, kind: str, name: str, values: dict[str, int], missing: Missing) -> FileSystem:
        at_s = time.monotonic()

        def rate(what: str) -> Any:
            key = f"{kind} {name} {what}"
            path = f"file_system.{name}.{what}_per_s"
            return ask(missing, path, lambda: self._rates.per_s(key, values.get(what), at_s))

        return FileSystem(
            kind,
            name,
            read_bytes=values.get("read_bytes"),
            write_bytes=values.get("write_bytes"),
            read_bytes_per_s=rate("read_bytes"),
            write_bytes_per_s=rate("write_bytes"),
            opens=values.get("open"),
        )

    def _cpu(self) -> tuple[int, float]:
        """Number of CPUs and seconds in which they worked: user, nice, system, irq, softirq, steal (proc(5))."""
        lines = available(f"{self._root}/proc/stat").split("\n")
        fields = [int(field) for field in lines[0].split()[1:9]]
        busy = fields[0] + fields[1] + fields[2] + sum(fields[5:8])
        return sum(1 for line in lines if line.startswith("cpu") and line[3].isdigit()), busy / _TICKS_PER_S

    def _memory(self, missing: Missing) -> dict[str, int]:
        path = f"{self._root}/proc/meminfo"
        told = ask(missing, "node.memory_total_bytes", lambda: keyed(available(path)))
        told = {} if told is None else {name: kib * 1024 for name, kib in told.items()}
        told["SwapUsed"] = told.get("SwapTotal", 0) - told.get("SwapFree", 0) if told else None
        found = {}
        for name, line in _MEMORY.items():
            if told.get(line) is None:
                missing[f"node.{name}"] = missing.get("node.memory_total_bytes", f"{path} has no {line}")
            else:
                found[name] = told[line]
        return found

    def _network(self) -> tuple[int, int]:
        content = available(f"{self._root}/proc/net/dev")
        hardware = [path.split("/")[-2] for path in glob.glob(f"{self._root}/sys/class/net/*/device")]  # noqa: PTH207
        # in a container there is no hardware: then all but the loopback counts
        return device_bytes(content, only=hardware or None, leave_out=("lo",))

    def _infiniband(self) -> tuple[int, int]:
        sums = []
        for name in ("port_rcv_data", "port_xmit_data"):
            files = glob.glob(f"{self._root}/sys/class/infiniband/*/ports/*/counters/{name}")  # noqa: PTH207
            if not files:
                raise Unavailable("there is no InfiniBand here")
            sums.append(sum(int(available(path)) for path in files) * _INFINIBAND_UNIT_BYTES)
        return sums[0], sums[1]

    def _disks(self) -> tuple[int, int]:
        content = available(f"{self._root}/proc/diskstats")
        whole = {path.split("/")[-2] for path in glob.glob(f"{self._root}/sys/block/*/device")}  # noqa: PTH207
        if not whole:
            raise Unavailable("there is no disk here")
        lines = [line.split() for line in content.split("\n")]
        lines = [fields for fields in lines if len(fields) > 9 and fields[2] in whole]
        return (
            sum(int(fields[5]) for fields in lines) * _SECTOR_BYTES,
            sum(int(fields[9]) for fields in lines) * _SECTOR_BYTES,
        )


def _lustre(path: str) -> dict[str, int]:
    """`read_bytes 12 samples [bytes] 1 4096 8192` (the sum is the seventh word); calls by their number."""
    found = {"read_bytes": 0, "write_bytes": 0, "open": 0}  # a line is there from the first call on
    for line in available(path).split("\n"):
        fields = line.split()
        if len(fields) > 6 and fields[3] == "[bytes]":
            found[fields[0]] = int(fields[6])
        elif len(fields) > 2 and fields[1].isdigit():
            found[fields[0]] = int(fields[1])
    return found
