"""What a sender may send: a session's agent its own job on that job's nodes, a node's service the jobs of its node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backend.telemetry.intake.keys import Known
from backend.telemetry.intake.sight import JobsNow, Sight
from backend.telemetry.intake.wire import Sent
from backend.telemetry.store import Block, JobFacts, Store

LATE_S = 60.0  # clocks that differ a little: what was measured so long after the end of its job is still taken
SNAPSHOT_LAG_S = 15.0  # a job may have begun so long before the snapshot shows it
DEVICES = 160  # of a job on one node: sixteen GPUs in seven parts each, and forty file systems
RETRY_S = 5


@dataclass(frozen=True)
class Allowed:
    """What of a batch is to be written, and what the scheduler says of its jobs."""

    cluster: str
    blocks: tuple[Block, ...]
    facts: tuple[JobFacts, ...]


class NotAllowed(Exception):
    """It may not be written. `status`: 403 for good, 410 the session is over, 503 it can't be told yet."""

    def __init__(self, status: int, why: str, retry_after_s: int | None = None) -> None:
        super().__init__(why)
        self.status = status
        self.retry_after_s = retry_after_s


class Rights:
    """Decides by the session's row, the shared snapshot, and what the store knows of jobs that left the snapshot.

    `correction_s`: what is to be added to the sender's times, as far as that is known.
    """

    def __init__(self, jobs: JobsNow, store: Store) -> None:
        self._jobs, self._store = jobs, store
        self._devices: dict[tuple[str, int, str, str], set[str]] = {}  # by cluster, job, node and sender

    def of_session(self, session: Known, sent: Sent, correction_s: float) -> Allowed:
        """What a session's agent sent. Raises NotAllowed."""
        if session.over and not _measured_before(sent, session.end_s, correction_s):
            raise NotAllowed(410, "the session is over")
        if session.job_id is None:
            raise NotAllowed(503, "the session's job is not known yet", RETRY_S)
        if any(block.job_id != session.job_id for block in sent.blocks):
            raise NotAllowed(403, "a session's agent sends its own job and no other")
        facts = self._facts(session.cluster, session.job_id, sent, correction_s)
        if facts is None:
            raise NotAllowed(403, "the session's job has no such node")
        sender = (session.cluster, session.job_id, sent.node, "its own agent")
        if not all(self._has_room(sender, block) for block in sent.blocks):
            raise NotAllowed(403, f"a job has at most {DEVICES} devices on a node")
        return Allowed(session.cluster, sent.blocks, (facts,))

    def of_node(self, node: str, sent: Sent, correction_s: float) -> Allowed:
        """What a node's service sent. Raises NotAllowed.

        Blocks of jobs that the node doesn't have are left out, and of devices beyond DEVICES, and if that is all of
        them: a batch of what is no job any more (a process that outlived it) must not hold up those behind it.
        """
        if sent.node != node:
            raise NotAllowed(403, "a node's service sends its own node and no other")
        job_ids = sorted({block.job_id for block in sent.blocks})
        cluster = self._jobs.on_node(node, job_ids) or self._store.cluster_of(node, job_ids)
        if cluster is None:
            raise NotAllowed(403, "no cluster has such a node")
        found = {job_id: self._facts(cluster, job_id, sent, correction_s) for job_id in job_ids}
        return Allowed(
            cluster,
            tuple(
                block
                for block in sent.blocks
                if found[block.job_id] and self._has_room((cluster, block.job_id, node, "its node's service"), block)
            ),
            tuple(facts for facts in found.values() if facts),
        )

    def _facts(self, cluster: str, job_id: int, sent: Sent, correction_s: float) -> JobFacts | None:
        """The attempt these samples are of; None where the job has no such node. Raises NotAllowed (503)."""
        sight = self._jobs.find(cluster, job_id)
        if sight is not None and sight.started and sight.on(sent.node):
            return self._as_facts(sight)
        if self._store.runs_on(cluster, job_id, sent.node):  # it was, and is no longer in the snapshot
            known = self._store.newest_attempt(cluster, job_id)
            return known and JobFacts(cluster, job_id, *known)
        if sight is not None and sight.started:
            return None
        if _newest_s(sent, correction_s) > self._jobs.taken_s(cluster) - SNAPSHOT_LAG_S:
            raise NotAllowed(503, "the scheduler has not been looked at since this was measured", RETRY_S)
        return None

    def _as_facts(self, sight: Sight) -> JobFacts:
        assert sight.start_s is not None  # noqa: S101 - `started` says so
        return JobFacts(sight.cluster, sight.job_id, sight.start_s, sight.end_s)

    def _has_room(self, sender: tuple[str, int, str, str], block: Block) -> bool:
        """Whether this is one of the devices that are counted for the sender, or may become one."""
        known = self._devices.setdefault(sender, set())
        if len(known) < DEVICES:
            known.add(block.device)
        return block.device in known

    def forget(self, jobs: Sequence[tuple[str, int]]) -> None:
        """Keep in mind only the devices of these jobs."""
        kept = set(jobs)
        self._devices = {key: found for key, found in self._devices.items() if key[:2] in kept}


def _newest_s(sent: Sent, correction_s: float) -> float:
    """When the newest of it was measured, by our clock."""
    return max((float(block.times_s[-1]) for block in sent.blocks), default=sent.sent_s) + correction_s


def _measured_before(sent: Sent, end_s: int | None, correction_s: float) -> bool:
    """Whether all of it was measured while the session was not over: its agent's last words."""
    return end_s is not None and bool(sent.blocks) and _newest_s(sent, correction_s) <= end_s + LATE_S
