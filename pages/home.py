"""Home: one's own sessions, free GPUs by model, the cluster in use, the queue, the news."""

from __future__ import annotations

import time
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from backend.cluster import Snapshot
from backend.cluster.views import gpus_by_model, queue_summary, totals
from backend.identity import Viewer
from backend.notices.news import read_news
from backend.services import Services
from pages.parts.cards import card
from pages.parts.news import news_html
from pages.parts.topics import Message, Topic

MOST_SESSIONS = 100
MOST_REASONS = 4
# Slurm's words for why jobs wait, by how they begin, as a summary of the queue says it. One job's reason in
# full is `reason_in_words`.
REASONS = (
    ("Priority", "others go first"),
    ("Resources", "for free resources"),
    ("Dependency", "for other jobs"),
    ("BeginTime", "for their start time"),
    ("JobHeld", "held"),
    ("JobArrayTaskLimit", "for tasks of their array"),
    ("Assoc", "at a limit of their account"),
    ("QOS", "at a limit of their QOS"),
    ("MaxCpuPerAccount", "at a limit of their account"),
    ("Partition", "at a limit of their partition"),
    ("ReqNodeNotAvail", "for nodes that are away"),
    ("Reservation", "for a reservation"),
    ("Licenses", "for licences"),
    ("None", "just submitted"),
)


def build(services: Services, viewer: Viewer) -> Any:
    """The page at `/`."""
    from pages.shell import page  # the shell knows every page, so it comes last

    return page(services, viewer, "home")


def fresh(services: Services, _viewer: Viewer | None) -> Message:
    """How old the picture is, and why."""
    snapshot = services.snapshots.current
    jobs, nodes = snapshot.jobs, snapshot.nodes
    failing = [part for part in (jobs, nodes, snapshot.partitions) if part.error]
    since = [part.failing_since_s for part in failing if part.failing_since_s]
    return {
        "cluster": snapshot.cluster,
        "taken_s": jobs.taken_s,
        "nodes_taken_s": nodes.taken_s,
        "every_s": jobs.every_s,
        "error": failing[0].error if failing else None,
        "failing_since_s": min(since, default=None),
        "now": round(time.time(), 1),
    }


def overview(services: Services, _viewer: Viewer | None) -> Message:
    """The cluster in figures, the same for everybody, and the news."""
    snapshot = services.snapshots.current
    counts = totals(snapshot)
    queue = queue_summary(snapshot)
    news = read_news(services.settings.instance.news_file)
    return {
        "totals": {
            **asdict(counts),
            "nodes_busy": counts.nodes_available - counts.nodes_idle,
            "cpus_down": max(0, counts.cpus - counts.cpus_allocated - counts.cpus_free),
            "gpus_down": max(0, counts.gpus - counts.gpus_allocated - counts.gpus_free),
        },
        "gpus": [asdict(model) for model in gpus_by_model(snapshot)],
        "queue": {
            "running": queue.running,
            "pending": queue.pending,
            "reasons": _reasons(queue.reasons),
        },
        "news": {"html": news_html(news), "error": news.error, "changed_s": news.changed_s},
    }


def _reasons(reasons: tuple[tuple[str, int], ...]) -> list[tuple[str, int]]:
    """The most frequent, in words; Slurm's own word where there are none."""
    counts: dict[str, int] = {}
    for word, number in reasons:
        name = next((words for start, words in REASONS if word.startswith(start)), word)
        counts[name] = counts.get(name, 0) + number
    return sorted(counts.items(), key=lambda item: -item[1])[:MOST_REASONS]


def mine(services: Services, viewer: Viewer | None) -> Message:
    """What is the person's own: sessions and counts of jobs."""
    assert viewer is not None  # noqa: S101 - a personal topic is made for a person
    running, pending = own_jobs(services.snapshots.current, viewer.name, viewer.uid)
    sessions = services.sessions.list(viewer, ended=True, limit=MOST_SESSIONS)
    return {
        "jobs": {"running": running, "pending": pending},
        "sessions": {session.id: card(session) for session in sessions},
    }


def own_jobs(snapshot: Snapshot, name: str, uid: int | None = None) -> tuple[int, int]:
    """A person's running and pending jobs, by uid where it is known; an array counts as its tasks."""
    return _jobs_by_user(_Same(snapshot.jobs.table)).get(name if uid is None else uid, (0, 0))


class _Same:
    """A table as a key of a cache: the very same object, whatever is in it."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __hash__(self) -> int:
        return id(self.table)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.table is self.table


@lru_cache(maxsize=2)
def _jobs_by_user(same: _Same) -> dict[str | int, tuple[int, int]]:
    """Running and pending tasks of everybody by name and by uid, counted once for each look at the queue."""
    live = same.table.select(["user", "uid", "state", "array_pending"])
    live = live.filter(pc.is_in(live["state"], value_set=pa.array(["RUNNING", "PENDING"])))
    counts: dict[str | int, tuple[int, int]] = {}
    for row in live.group_by(["user", "uid", "state"]).aggregate([("array_pending", "sum")]).to_pylist():
        tasks = row["array_pending_sum"] or 0
        for who in (row["user"], row["uid"]):
            running, pending = counts.get(who, (0, 0))
            is_running = row["state"] == "RUNNING"
            counts[who] = (running + tasks, pending) if is_running else (running, pending + tasks)
    return counts


TOPICS = (
    Topic("fresh", fresh, ("jobs!", "nodes!", "partitions!"), keep_s=float("inf")),
    Topic("home", overview, ("jobs", "nodes", "partitions", "news"), keep_s=float("inf")),
    Topic("mine", mine, ("jobs", "sessions"), personal=True, keyed=frozenset({"sessions"})),
)
