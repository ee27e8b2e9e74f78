"""What a person may choose from, the defaults, and the blanks of a request filled in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from backend.sessions.limits.access import (
    allowed_qos,
    effective_qos,
    gpu_types_of,
    partition_refusal,
)
from backend.sessions.limits.check import may_use_reservation
from backend.sessions.limits.facts import Facts, PersonFacts, Row
from backend.sessions.model import (
    AccountChoice,
    AppChoice,
    GpuChoice,
    ImageChoice,
    LaunchOptions,
    LaunchRequest,
    PartitionChoice,
)

USUAL_TIMES_S = (1800, 3600, 2 * 3600, 4 * 3600, 8 * 3600, 12 * 3600, 86400, 2 * 86400, 7 * 86400)
CPUS_WITHOUT_GPU = 2
MOST_CPUS = 8
MEMORY_A_CPU_MB = 4096
MEMORY_FLOOR_MB = 1024


@dataclass(frozen=True)
class Site:
    """What the settings say of sessions."""

    apps: tuple[AppChoice, ...]
    default_app: str
    images: tuple[ImageChoice, ...]  # empty when sessions run without a container
    image_folders: tuple[str, ...]
    default_time_s: int
    default_gpus: int
    max_time_s: int | None = None  # of jobs on this machine


def choices(site: Site, facts: Facts, person: PersonFacts) -> LaunchOptions:
    """Everything the launch form shows."""
    partitions = tuple(_partitions(facts, person))
    nodes = [node for row in partitions for node in facts.nodes_of(row.name)] or list(facts.nodes)
    gpus = tuple(_gpus(facts, partitions))
    longest = _longest(site, partitions)
    return LaunchOptions(
        refusal=_refusal(facts, person, partitions),
        cluster=facts.cluster,
        accounts=tuple(_accounts(facts, person)),
        partitions=partitions,
        qos=_qos(facts, person),
        gpus=gpus,
        images=site.images,
        apps=site.apps,
        reservations=tuple(_reservations(facts, person)),
        times_s=tuple(each for each in USUAL_TIMES_S if longest is None or each <= longest),
        max_time_s=longest,
        max_nodes=max((_node_count(row) for row in partitions), default=1),
        max_cpus=max((node["cpus"] or 0 for node in nodes), default=0),
        max_memory_mb=max((node["memory_mb"] or 0 for node in nodes), default=0),
        image_paths=bool(site.image_folders) and bool(site.images),
        defaults=_defaults(site, facts, person, gpus, longest),
    )


def completed(request: LaunchRequest, site: Site, facts: Facts, person: PersonFacts) -> LaunchRequest:
    """The request with its blanks filled: app, account, time, partition, image, CPUs and memory."""
    filled = replace(
        request,
        cluster=request.cluster or facts.cluster,
        app=request.app or site.default_app,
        account=request.account or _default_account(facts, person),
        time_s=request.time_s or site.default_time_s,
    )
    if not filled.image:
        filled = replace(filled, image=_default_image(site, filled.app))
    if not filled.partition:
        filled = replace(filled, partition=_pick_partition(filled, facts, person))
    return _with_share(filled, facts)


def _refusal(facts: Facts, person: PersonFacts, partitions: tuple[PartitionChoice, ...]) -> str:
    if facts.knows_associations and not person.account_names():
        return "You have no account on this cluster yet. Ask its admins for one."
    if facts.partitions and not partitions:
        return "No partition of this cluster is open to you. Ask its admins."
    return ""


def _accounts(facts: Facts, person: PersonFacts) -> Iterable[AccountChoice]:
    names = person.account_names()
    default = _default_account(facts, person)
    for name in names:
        known = facts.accounts.get(name)
        yield AccountChoice(
            name=name,
            description=(known["description"] or "") if known else "",
            default=name == default,
            qos=allowed_qos(person, name, ""),
            default_qos=effective_qos(person, name, "", ""),
        )


def _default_account(facts: Facts, person: PersonFacts) -> str:
    names = person.account_names() if facts.knows_associations else []
    return names[0] if names else ""


def _partitions(facts: Facts, person: PersonFacts) -> Iterable[PartitionChoice]:
    accounts = person.account_names() if facts.knows_associations else [""]
    for row in facts.partitions:
        may = [name for name in accounts if not _refused(row, person, name)]
        if not may:
            continue
        yield PartitionChoice(
            name=row["name"],
            default=bool(row["default"]),
            max_time_s=row["max_time_s"],
            default_time_s=row["default_time_s"],
            max_nodes=row["max_nodes"],
            nodes=row["nodes"] or 0,
            gpu_types=tuple(sorted(filter(None, gpu_types_of(facts, row["name"])))),
            accounts=tuple(name for name in may if name),
        )


def _refused(partition: Row, person: PersonFacts, account: str) -> bool:
    qos = effective_qos(person, account, partition["name"], "")
    allowed = allowed_qos(person, account, partition["name"])
    if partition["allow_qos"] and set(allowed) & set(partition["allow_qos"]):
        qos = ""  # the default one doesn't fit, another one that is open to the person does
    return bool(partition_refusal(partition, person, account, qos))


def _node_count(partition: PartitionChoice) -> int:
    return min(partition.nodes, partition.max_nodes) if partition.max_nodes else partition.nodes


def _gpus(facts: Facts, partitions: tuple[PartitionChoice, ...]) -> Iterable[GpuChoice]:
    names = {row.name for row in partitions}
    models: dict[str, list[int]] = {}
    where: dict[str, set[str]] = {}
    for node in facts.nodes:
        mine = names & set(node["partitions"] or ())
        for item in node["gpu_types"] or () if mine else ():
            total, used = item["total"] or 0, item["allocated"] or 0
            model = models.setdefault(item["type"], [0, 0, 0])
            model[0] += total
            model[1] += max(0, total - used) if node["available"] else 0
            model[2] = max(model[2], total)
            where.setdefault(item["type"], set()).update(mine)
    for name, (total, free, per_node) in sorted(models.items(), key=lambda item: (-item[1][1], item[0])):
        yield GpuChoice(name, total, free, per_node, tuple(sorted(where[name])))


def _qos(facts: Facts, person: PersonFacts) -> tuple[str, ...]:
    names = {name for account in person.account_names() for name in allowed_qos(person, account, "")}
    return tuple(sorted(names or (set(facts.qos) if not facts.knows_associations else ())))


def _reservations(facts: Facts, person: PersonFacts) -> Iterable[str]:
    accounts = person.account_names() or [""]
    for row in facts.reservations:
        if any(may_use_reservation(row, person, account) for account in accounts):
            yield row["name"]


def _longest(site: Site, partitions: tuple[PartitionChoice, ...]) -> int | None:
    limits = [row.max_time_s for row in partitions]
    if site.max_time_s is not None:
        return site.max_time_s
    return max((each for each in limits if each is not None), default=None) if None not in limits else None


def _defaults(
    site: Site, facts: Facts, person: PersonFacts, gpus: tuple[GpuChoice, ...], longest: int | None
) -> LaunchRequest:
    model = gpus[0] if gpus and site.default_gpus else None
    time_s = min(site.default_time_s, longest) if longest is not None else site.default_time_s
    request = LaunchRequest(
        cluster=facts.cluster,
        app=site.default_app,
        account=_default_account(facts, person),
        gpus=min(site.default_gpus, model.per_node) if model else 0,
        gpu_type=model.type if model else "",
        time_s=time_s,
        image=_default_image(site, site.default_app),
    )
    partition = facts.partition(_pick_partition(request, facts, person))
    if partition and partition["max_time_s"] is not None:
        request = replace(request, time_s=min(time_s, partition["max_time_s"]))
    return request


def _default_image(site: Site, app: str) -> str:
    return next((image.name for image in site.images if not image.apps or app in image.apps), "")


def _pick_partition(request: LaunchRequest, facts: Facts, person: PersonFacts) -> str:
    """The default partition if it takes the job; else, of those that do, the one with most room; else "".

    A CPU job stays out of partitions with GPUs where it has the choice.
    """
    suitable = []
    for row in facts.partitions:
        qos = effective_qos(person, request.account, row["name"], request.qos)
        if partition_refusal(row, person, request.account, qos) or row["state"] != "UP":
            continue
        if row["max_time_s"] is not None and request.time_s > row["max_time_s"]:
            continue
        nodes = facts.nodes_of(row["name"])
        types = {item["type"] for node in nodes for item in node["gpu_types"] or ()}
        if request.gpus and (request.gpu_type not in types if request.gpu_type else not types):
            continue
        room = sum(1 for node in nodes if node["available"] and _free_gpus(node, request) >= request.gpus)
        wasteful = not request.gpus and bool(types)
        suitable.append((wasteful, not row["default"], -room, row["name"]))
    return min(suitable)[3] if suitable else ""


def _free_gpus(node: Row, request: LaunchRequest) -> int:
    return sum(
        (item["total"] or 0) - (item["allocated"] or 0)
        for item in node["gpu_types"] or ()
        if not request.gpu_type or item["type"] == request.gpu_type
    )


def _with_share(request: LaunchRequest, facts: Facts) -> LaunchRequest:
    """CPUs and memory that were left open: what belongs to the GPUs asked for, within bounds."""
    if request.cpus and request.memory_mb:
        return request
    nodes = [node for node in facts.nodes_of(request.partition) if _total_gpus(node, request) >= request.gpus]
    if not nodes:
        return request
    node = min(nodes, key=lambda each: (each["cpus"] or 0, each["memory_mb"] or 0))
    cpus, memory_mb = node["cpus"] or 1, node["memory_mb"] or 0
    share = request.gpus / max(1, _total_gpus(node, request)) if request.gpus else 1.0
    if not request.cpus:
        wanted = min(MOST_CPUS, int(cpus * share)) if request.gpus else min(CPUS_WITHOUT_GPU, cpus // 2)
        request = replace(request, cpus=max(1, wanted))
    if not request.memory_mb and memory_mb:
        wanted_mb = min(int(memory_mb * share), request.cpus * MEMORY_A_CPU_MB)
        wanted_mb = max(wanted_mb, min(MEMORY_FLOOR_MB, memory_mb))
        request = replace(request, memory_mb=min(wanted_mb, memory_mb))
    return request


def _total_gpus(node: Row, request: LaunchRequest) -> int:
    return sum(
        item["total"] or 0
        for item in node["gpu_types"] or ()
        if not request.gpu_type or item["type"] == request.gpu_type
    )
