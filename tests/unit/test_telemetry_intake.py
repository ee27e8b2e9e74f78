"""Who may have samples written, and what becomes of a batch that is false, repeated, late or of another's job."""

from __future__ import annotations

import json
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from backend.agent.telemetry.batch import is_over
from backend.telemetry import JobRef
from backend.telemetry.intake import KeyUnusable, master_key, node_key
from backend.telemetry.intake.budgets import Limit
from backend.telemetry.intake.keeping import Housekeeper
from backend.telemetry.intake.rights import DEVICES
from backend.telemetry.store import BLOCK_WEIGHT
from tests.unit.intake_kit import CLUSTER, Agent, IntakeDesk, Signed

SESSION = "s1234567"


def agent_of(desk: IntakeDesk, session_id: str = SESSION, job_id: int = 7, nodes: str = "n[1-2]", **more: Any) -> Agent:
    return Agent(f"session:{session_id}", desk.session(session_id, job_id, nodes, **more))


def sample(desk: IntakeDesk, agent: Agent, job_id: int = 7, ago_s: float = 1.0) -> Signed:
    return agent.batch(job_id, [desk.now_s - ago_s], cpu_cores=[1.5])


async def test_a_sessions_own_job_is_taken_and_read_again(tmp_path: Path) -> None:
    async with IntakeDesk(tmp_path) as desk:
        agent = agent_of(desk)
        assert (await desk.send(sample(desk, agent))).status == 204
        (one,) = desk.telemetry.series(JobRef(CLUSTER, 7, int(desk.now_s) - 600), ["cpu_cores"])
        assert one.means == (1.5,)


async def test_a_greeting_without_blocks_is_taken(tmp_path: Path) -> None:
    async with IntakeDesk(tmp_path) as desk:
        assert (await desk.send(agent_of(desk).blocks([], sent_s=desk.now_s))).status == 204


async def test_what_was_acknowledged_is_on_disk(tmp_path: Path) -> None:
    async with IntakeDesk(tmp_path) as desk:
        assert (await desk.send(sample(desk, agent_of(desk)))).status == 204
        (log,) = (tmp_path / "telemetry" / "wal").iterdir()
        assert log.stat().st_size > 0


async def test_a_forged_mac_writes_nothing(tmp_path: Path) -> None:
    async with IntakeDesk(tmp_path) as desk:
        batch = sample(desk, agent_of(desk))
        for mac in ("", "0" * 64, batch.mac[:-1], "ü" * 64):
            assert (await desk.send(batch, mac=mac)).status == 403
        changed = Signed(batch.sender, batch.mac, batch.body + b"x")
        assert (await desk.send(changed)).status == 403
        assert desk.written() == 0


async def test_another_sessions_secret_writes_nothing(tmp_path: Path) -> None:
    async with IntakeDesk(tmp_path) as desk:
        mine, other = agent_of(desk), agent_of(desk, "s7654321", 8, "n3")
        assert (await desk.send(sample(desk, mine), sender=other.sender)).status == 403
        assert (await desk.send(sample(desk, other, job_id=7))).status == 403
        for sender in ("", "session:", "session:../x", "session:s0000000", "nobody:x", "node:"):
            assert (await desk.send(sample(desk, mine), sender=sender)).status == 403
        assert desk.written() == 0


async def test_a_job_on_another_node_writes_nothing(tmp_path: Path) -> None:
    async with IntakeDesk(tmp_path) as desk:
        agent = agent_of(desk)
        agent.node = "n4"
        assert (await desk.send(sample(desk, agent))).status == 403
        assert desk.written() == 0


async def test_a_job_the_scheduler_has_not_confirmed_must_wait(tmp_path: Path) -> None:
    async with IntakeDesk(tmp_path) as desk:
        agent = agent_of(desk, confirmed=False)
        answer = await desk.send(sample(desk, agent))
        assert (answer.status, answer.retry_after_s) == (503, 5)
        assert desk.written() == 0


async def test_a_job_that_the_snapshot_may_not_show_yet_must_wait(tmp_path: Path) -> None:
    async with IntakeDesk(tmp_path) as desk:
        agent = agent_of(desk)
        desk.jobs.clear()
        desk.publish(taken_s=time.time() - 30)
        assert (await desk.send(sample(desk, agent))).status == 503
        desk.publish(taken_s=time.time() + 60)
        assert (await desk.send(sample(desk, agent))).status == 403


async def test_a_job_that_left_the_snapshot_is_still_known(tmp_path: Path) -> None:
    async with IntakeDesk(tmp_path) as desk:
        agent = agent_of(desk)
        await desk.send(sample(desk, agent))
        desk.jobs.clear()
        desk.publish(taken_s=time.time() + 60)
        assert (await desk.send(sample(desk, agent, ago_s=0.5))).status == 204


async def test_a_repeated_batch_is_taken_once(tmp_path: Path) -> None:
    async with IntakeDesk(tmp_path) as desk:
        batch = sample(desk, agent_of(desk))
        assert [(await desk.send(batch)).status for _ in range(3)] == [204] * 3
        assert desk.written() == 1


async def test_an_earlier_process_of_the_agent_is_replayed(tmp_path: Path) -> None:
    async with IntakeDesk(tmp_path) as desk:
        first = agent_of(desk)
        taken, kept_back = sample(desk, first), sample(desk, first, ago_s=0.9)
        await desk.send(taken)
        second = Agent(first.sender, first.key)
        await desk.send(sample(desk, second, ago_s=0.5))
        assert (await desk.send(kept_back)).status == 403
        assert desk.written() == 2


async def test_a_session_that_is_over_gets_the_consoles_signed_word(tmp_path: Path) -> None:
    async with IntakeDesk(tmp_path) as desk:
        agent = agent_of(desk)
        desk.over(SESSION, int(desk.now_s) - 600)
        batch = sample(desk, agent)
        answer = await desk.send(batch)
        assert answer.status == 410
        assert is_over(agent.key, agent.sender, batch.mac, answer.body)
        assert desk.written() == 0


async def test_what_was_measured_before_the_end_is_still_taken(tmp_path: Path) -> None:
    async with IntakeDesk(tmp_path) as desk:
        agent = agent_of(desk)
        await desk.send(agent.blocks([], sent_s=desk.now_s))
        desk.over(SESSION, int(desk.now_s) - 5)
        assert (await desk.send(sample(desk, agent, ago_s=10))).status == 204


async def test_a_nodes_service_sends_the_jobs_of_its_node_and_no_others(tmp_path: Path) -> None:
    async with IntakeDesk(tmp_path) as desk:
        desk.job(7, "n1")
        desk.job(8, "n2")
        service = services(desk)
        both = [
            {"job": job, "device": "", "model": "", "t": [desk.now_s - 1], "m": {"cpu_cores": [1]}} for job in (7, 8)
        ]
        assert (await desk.send(service.blocks(both, sent_s=desk.now_s))).status == 204
        assert desk.written() == 1
        # taken, and nothing of it written: it would come again and again, and hold up what is behind it
        assert (await desk.send(sample(desk, service, job_id=8))).status == 204
        service.node = "n2"
        assert (await desk.send(sample(desk, service, job_id=8))).status == 403
        stolen = Agent("node:n2", service.key, node="n2")
        assert (await desk.send(sample(desk, stolen, job_id=8))).status == 403
        assert desk.written() == 1


def services(desk: IntakeDesk) -> Agent:
    return Agent("node:n1", node_key(master_key(desk.folder / "node.key"), "n1"))


async def test_where_a_nodes_service_looks_what_a_job_says_of_itself_does_not_count(tmp_path: Path) -> None:
    async with IntakeDesk(tmp_path) as desk:
        own, service = agent_of(desk), services(desk)
        service_said = service.batch(7, [desk.now_s - 3], "gpu:0", "NVIDIA A100", gpu_busy_percent=[2.0])
        job_said = own.batch(7, [desk.now_s - 2], "gpu:0", "NVIDIA A100", gpu_busy_percent=[97.0])
        invented = own.batch(7, [desk.now_s - 1], "gpu:1", "NVIDIA A100", gpu_busy_percent=[97.0])
        for batch in (service_said, job_said, invented):
            assert (await desk.send(batch)).status == 204
        ref = JobRef(CLUSTER, 7, int(desk.now_s) - 600)
        assert [(one.device, one.means) for one in desk.telemetry.series(ref, ["gpu_busy_percent"])] == [
            ("gpu:0", (2.0,))
        ]


async def test_what_a_nodes_service_can_not_tell_of_a_job_its_own_agent_may(tmp_path: Path) -> None:
    async with IntakeDesk(tmp_path) as desk:
        own, service = agent_of(desk), services(desk)
        await desk.send(sample(desk, service, ago_s=3))
        gpu = own.batch(7, [desk.now_s - 2], "gpu:0", "NVIDIA A100", gpu_busy_percent=[50.0])
        assert (await desk.send(gpu)).status == 204
        assert (await desk.send(sample(desk, own))).status == 204
        assert desk.written() == 2


async def test_a_sender_that_floods_must_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.telemetry.intake.taking.OF_SESSION", Limit(0.0, 2.0 * (1 + BLOCK_WEIGHT)))
    async with IntakeDesk(tmp_path) as desk:
        agent = agent_of(desk)
        statuses = [(await desk.send(sample(desk, agent, ago_s=9 - number))).status for number in range(3)]
        assert statuses == [204, 204, 429]
        agent.node = "n2"  # each node of a job has as much
        assert (await desk.send(sample(desk, agent))).status == 204


async def test_many_blocks_of_one_value_count_as_what_they_take_of_memory(tmp_path: Path) -> None:
    async with IntakeDesk(tmp_path) as desk:
        agent = agent_of(desk)

        def block(number: int) -> dict[str, Any]:
            return {"job": 7, "device": "", "model": "", "t": [desk.now_s - number], "m": {"cpu_cores": [1]}}

        statuses = []
        for _ in range(4):
            statuses.append((await desk.send(agent.blocks([block(n) for n in range(4000)], desk.now_s))).status)
        assert statuses == [204, 204, 204, 429]
        assert desk.store.unsealed == 12000 * (1 + BLOCK_WEIGHT)


async def test_what_can_not_be_read_costs_its_sender_as_much(tmp_path: Path) -> None:
    """Bytes are paid before they are understood, and the bill of one sender is not another's."""
    async with IntakeDesk(tmp_path) as desk:
        agent, service = agent_of(desk), services(desk)
        rubbish = agent.raw(b"[" + b"0," * (2 << 20) + b"0]")
        statuses = [(await desk.send(agent.raw(b"[" + b"0," * 2_000_000 + b"0]"))).status for _ in range(12)]
        assert (statuses[0], statuses[-1]) == (400, 429)
        assert (await desk.send(rubbish)).status == 429
        assert (await desk.send(sample(desk, agent))).status == 429
        assert (await desk.send(sample(desk, service))).status == 204


async def test_a_job_has_no_endless_devices(tmp_path: Path) -> None:
    async with IntakeDesk(tmp_path) as desk:
        agent = agent_of(desk)
        assert (await desk.send(agent.blocks(_file_systems(desk, 7, 600), sent_s=desk.now_s))).status == 403
        assert desk.written() == 0


async def test_devices_that_a_job_invents_leave_the_nodes_service_alone(tmp_path: Path) -> None:
    async with IntakeDesk(tmp_path) as desk:
        agent, service = agent_of(desk), services(desk)
        desk.job(8, "n1")
        assert (await desk.send(agent.blocks(_file_systems(desk, 7, DEVICES), sent_s=desk.now_s))).status == 204
        before = desk.written()
        both = [
            {"job": job, "device": "", "model": "", "t": [desk.now_s - 1], "m": {"cpu_cores": [1]}} for job in (7, 8)
        ]
        assert (await desk.send(service.blocks(both, sent_s=desk.now_s))).status == 204
        assert desk.written() == before + 2


async def test_too_many_devices_of_one_job_hold_up_no_other_of_the_node(tmp_path: Path) -> None:
    async with IntakeDesk(tmp_path) as desk:
        service = services(desk)
        desk.job(7, "n1")
        desk.job(8, "n1")
        other = {"job": 8, "device": "", "model": "", "t": [desk.now_s - 1], "m": {"cpu_cores": [1]}}
        blocks = [*_file_systems(desk, 7, DEVICES + 9), other]
        assert (await desk.send(service.blocks(blocks, sent_s=desk.now_s))).status == 204
        assert desk.written() == DEVICES + 1


def _file_systems(desk: IntakeDesk, job: int, count: int) -> list[dict[str, Any]]:
    metrics = {"fs_read_bytes_per_s": [1]}
    return [
        {"job": job, "device": f"fs:x{number}", "model": "", "t": [desk.now_s], "m": metrics} for number in range(count)
    ]


async def test_a_sender_fills_no_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with IntakeDesk(tmp_path) as desk:
        agent = agent_of(desk)
        for number in range(60):
            block = {"job": 7, "device": "", "model": "", "t": [desk.now_s], "m": {f"nonsense_{number}": [1]}}
            assert (await desk.send(agent.blocks([block], sent_s=desk.now_s))).status == 400
        assert len(caplog.records) == 20


async def test_a_full_disk_is_said_and_acknowledges_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with IntakeDesk(tmp_path) as desk:
        agent = agent_of(desk)
        batch = sample(desk, agent)

        def full(_fd: int) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr("backend.telemetry.store.layout.wal.os.fdatasync", full)
            answer = await desk.send(batch)
            assert (answer.status, answer.retry_after_s) == (503, 10)
        assert "No space left" in (desk.taking.trouble or ("", 0))[0]
        assert desk.written() == 0
        assert (await desk.send(batch)).status == 204
        assert desk.taking.trouble is None
        assert desk.written() == 1


async def test_samples_of_the_past_and_the_future_are_left_out(tmp_path: Path) -> None:
    async with IntakeDesk(tmp_path) as desk:
        agent = agent_of(desk)
        await desk.send(agent.blocks([], sent_s=desk.now_s))
        now = desk.now_s
        block = {"job": 7, "device": "", "model": "", "t": [1.0, now, now + 9e5], "m": {"cpu_cores": [1, 2, 3]}}
        assert (await desk.send(agent.blocks([block], sent_s=now))).status == 204
        assert desk.written() == 1


async def test_an_ended_job_is_noted_and_archived(tmp_path: Path) -> None:
    async with IntakeDesk(tmp_path) as desk:
        agent = agent_of(desk)
        await desk.send(sample(desk, agent))
        keeper = Housekeeper(desk.store, desk.sight, desk.rights, tmp_path / "accounting")
        keeper.follow()
        assert [found.job_id for found in desk.store.open_attempts()] == [7]
        end_s = int(desk.now_s) - 1
        desk.job(7, "n[1-2]", "COMPLETED", end_s=end_s, start_s=desk.jobs[0]["start_s"])
        keeper.follow()
        assert desk.store.ended_attempts()[0].end_s == end_s


async def test_a_job_that_vanished_is_over_once_it_has_been_silent(tmp_path: Path) -> None:
    async with IntakeDesk(tmp_path) as desk:
        agent = agent_of(desk)
        await desk.send(sample(desk, agent))
        desk.jobs.clear()
        desk.publish()
        later = [0.0]
        keeper = Housekeeper(
            desk.store, desk.sight, desk.rights, tmp_path / "accounting", now=lambda: time.time() + later[0]
        )
        keeper.follow()
        assert desk.store.open_attempts()
        later[0] = 1900
        keeper.follow()
        assert not desk.store.open_attempts()


def test_the_master_key_is_made_once_and_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "run" / "node.key"
    assert master_key(path) == master_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [item.name for item in path.parent.iterdir()] == ["node.key"]
    path.chmod(0o640)
    with pytest.raises(KeyUnusable, match="chmod 600"):
        master_key(path)
    path.chmod(0o600)
    path.write_text("short")
    with pytest.raises(KeyUnusable, match="64 hexadecimal"):
        master_key(path)


async def test_a_bomb_is_not_inflated(tmp_path: Path) -> None:
    async with IntakeDesk(tmp_path) as desk:
        agent = agent_of(desk)
        assert (await desk.send(agent.raw(b" " * (64 << 20)))).status == 413
        assert (await desk.send(agent.raw(json.dumps({"x": "y" * (10 << 20)}).encode()))).status == 413
