"""Slurm's configuration files: six nodes on one host, pretend GPUs, portable plugins."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

GPU_TYPES = ("a100", "h100")


@dataclass(frozen=True)
class NodeSpec:
    """One pretend node; memory in MB."""

    name: str
    cpus: int
    memory_mb: int
    gpu_type: str = ""
    gpus: int = 0


NODES: tuple[NodeSpec, ...] = (
    *(NodeSpec(f"a100-{i:02}", 64, 256_000, "a100", 4) for i in (1, 2, 3)),
    *(NodeSpec(f"h100-{i:02}", 128, 1_024_000, "h100", 8) for i in (1, 2)),
    NodeSpec("cpu-01", 64, 256_000),
)


@dataclass(frozen=True)
class Ports:
    """Every TCP port of one cluster, counted from its base."""

    base: int

    COUNT = 20

    @property
    def mariadbd(self) -> int:
        return self.base

    @property
    def slurmdbd(self) -> int:
        return self.base + 1

    @property
    def slurmctld(self) -> int:
        return self.base + 2

    @property
    def ldap(self) -> int:
        return self.base + 3

    @property
    def ldaps(self) -> int:
        return self.base + 4

    def slurmd(self, place: int) -> int:
        return self.base + 10 + place


def version() -> tuple[int, int]:
    """Major release of the installed Slurm, as (22, 5)."""
    shown = subprocess.run(["slurmctld", "-V"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+)\.(\d+)\.", shown)
    if not found:
        raise ValueError(f"slurmctld -V says {shown!r}")
    return int(found[1]), int(found[2])


def write(
    folder: Path,
    *,
    name: str,
    host: str,
    ports: Ports,
    database_password: str,
    slurm_ids: tuple[int, int],
    extra: str,
) -> None:
    """Write slurm.conf, gres.conf, cgroup.conf and slurmdbd.conf into folder/slurm, and the state folders."""
    place = folder / "slurm"
    uid, gid = slurm_ids
    for part in ("state", "spool", "pid"):
        (place / part).mkdir(parents=True, exist_ok=True)
        shutil.chown(place / part, uid, gid)
    (place / "spool").chmod(0o755)
    (place / "slurm.conf").write_text(f"{_slurm_conf(folder, name, host, ports)}{extra}\n")
    (place / "gres.conf").write_text(_gres_conf(folder))
    # No plugin here uses cgroups, yet slurmd loads one for them, and autodetection may pick v2, whose start
    # asks systemd for a scope. v1's does nothing by itself; from 24.05 on it can be switched off.
    cgroup = "disabled" if version() >= (24, 5) else "cgroup/v1"
    (place / "cgroup.conf").write_text(f"CgroupPlugin={cgroup}\n")
    slurmdbd_conf = place / "slurmdbd.conf"
    slurmdbd_conf.touch(mode=0o600)
    slurmdbd_conf.write_text(_slurmdbd_conf(folder, host, ports, database_password))
    shutil.chown(slurmdbd_conf, uid, gid)


def _slurm_conf(folder: Path, name: str, host: str, ports: Ports) -> str:
    place = folder / "slurm"
    lines = [
        f"ClusterName={name}",
        f"SlurmctldHost={host}(127.0.0.1)",
        f"SlurmctldPort={ports.slurmctld}",
        "SlurmUser=slurm",
        "SlurmdUser=root",
        "AuthType=auth/munge",
        # cred_expire: with the default a requeued job waits 121 s.
        f"AuthInfo=socket={folder}/run/munge.socket,cred_expire=5",
        "CredType=cred/munge",
        f"StateSaveLocation={place}/state",
        f"SlurmdSpoolDir={place}/spool/%n",
        f"SlurmctldPidFile={place}/pid/slurmctld.pid",
        f"SlurmdPidFile={place}/pid/slurmd-%n.pid",
        f"SlurmctldLogFile={folder}/log/slurmctld.log",
        f"SlurmdLogFile={folder}/log/slurmd-%n.log",
        "SlurmctldDebug=info",
        "SlurmdDebug=info",
        "ProctrackType=proctrack/linuxproc",
        "TaskPlugin=task/none",
        "JobAcctGatherType=jobacct_gather/linux",
        "JobAcctGatherFrequency=task=5",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_Core_Memory",
        "SlurmdParameters=config_overrides",
        "SchedulerType=sched/backfill",
        "SchedulerParameters=bf_interval=2,sched_interval=5,batch_sched_delay=0",
        "PriorityType=priority/multifactor",
        "PriorityWeightAge=100",
        "PriorityWeightFairshare=1000",
        "PriorityWeightQOS=1000",
        "AccountingStorageType=accounting_storage/slurmdbd",
        "AccountingStorageHost=127.0.0.1",
        f"AccountingStoragePort={ports.slurmdbd}",
        f"AccountingStoragePass={folder}/run/munge.socket",
        "AccountingStorageTRES=gres/gpu," + ",".join(f"gres/gpu:{kind}" for kind in GPU_TYPES),
        "AccountingStorageEnforce=associations,limits,qos",
        "EnforcePartLimits=ALL",
        "DisableRootJobs=YES",
        "PropagateResourceLimits=NONE",
        "MailProg=/bin/true",
        "MpiDefault=none",
        "ReturnToService=2",
        "MessageTimeout=20",
        "SlurmctldTimeout=60",
        "SlurmdTimeout=60",
        "KillWait=10",
        "MinJobAge=300",
        "GresTypes=gpu",
        "DefMemPerCPU=2000",
    ]
    for count, node in enumerate(NODES):
        gres = f" Gres=gpu:{node.gpu_type}:{node.gpus} Feature={node.gpu_type}" if node.gpus else ""
        lines.append(
            f"NodeName={node.name} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports.slurmd(count)}"
            f" CPUs={node.cpus} Sockets=2 CoresPerSocket={node.cpus // 2} ThreadsPerCore=1"
            f" RealMemory={node.memory_mb} State=UNKNOWN{gres}"
        )
    lines += [
        "PartitionName=gpu Nodes=a100-[01-03],h100-[01-02] Default=YES MaxTime=2-00:00:00 DefaultTime=01:00:00",
        "PartitionName=debug Nodes=a100-01,cpu-01 MaxTime=01:00:00 DefaultTime=00:15:00 PriorityTier=10",
        "PartitionName=cpu Nodes=cpu-01 MaxTime=7-00:00:00 DefaultTime=01:00:00",
    ]
    return "\n".join(lines) + "\n"


def _gres_conf(folder: Path) -> str:
    return "".join(
        f"NodeName={node.name} Name=gpu Type={node.gpu_type} File={folder}/dev/nvidia[0-{node.gpus - 1}]\n"
        for node in NODES
        if node.gpus
    )


def _slurmdbd_conf(folder: Path, host: str, ports: Ports, password: str) -> str:
    lines = [
        "AuthType=auth/munge",
        f"AuthInfo=socket={folder}/run/munge.socket",
        f"DbdHost={host}",
        "DbdAddr=127.0.0.1",
        f"DbdPort={ports.slurmdbd}",
        "SlurmUser=slurm",
        "DebugLevel=info",
        f"LogFile={folder}/log/slurmdbd.log",
        f"PidFile={folder}/slurm/pid/slurmdbd.pid",
        "StorageType=accounting_storage/mysql",
        "StorageHost=127.0.0.1",
        f"StoragePort={ports.mariadbd}",
        "StorageUser=slurm",
        f"StoragePass={password}",
        "StorageLoc=slurm_acct_db",
    ]
    return "\n".join(lines) + "\n"
