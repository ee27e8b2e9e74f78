"""When a job ended, as far as the telemetry knows: corrected by the accounts, which know it to the second."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from backend.accounting.warehouse import Warehouse
from backend.accounting.warehouse.manifest import MANIFEST
from backend.telemetry.intake.keeping import Housekeeper
from tests.unit.intake_kit import CLUSTER, Agent, IntakeDesk
from tests.unit.warehouse_kit import ZONE
from tests.unit.warehouse_kit import job as account
from tests.unit.warehouse_kit import jobs as table

JOB = 7


def write(folder: Path, *rows: dict[str, Any], cluster: str = CLUSTER) -> None:
    """Put rows of a cluster into the accounts."""
    with Warehouse.write(folder, ZONE) as writer:
        writer.upsert(table(*(row | {"cluster": cluster} for row in rows)), cluster=cluster)
        writer.commit()


def keeper_of(desk: IntakeDesk, later_s: float = 0.0) -> Housekeeper:
    accounts = desk.folder / "accounting"
    return Housekeeper(desk.store, desk.sight, desk.rights, accounts, now=lambda: time.time() + later_s)


async def ended(desk: IntakeDesk) -> tuple[int, int]:
    """A measured job that the snapshot has seen end a minute ago; its start and that end."""
    await measured(desk)
    start_s, end_s = int(desk.jobs[0]["start_s"]), int(desk.now_s) - 60
    desk.job(JOB, "n1", "COMPLETED", start_s=start_s, end_s=end_s)
    keeper_of(desk).follow()
    return start_s, end_s


async def measured(desk: IntakeDesk) -> None:
    agent = Agent("session:s1234567", desk.session("s1234567", JOB))
    block = {"job": JOB, "device": "", "model": "", "t": [desk.now_s - 120], "m": {"cpu_cores": [1.5]}}
    assert (await desk.send(agent.blocks([block], sent_s=desk.now_s))).status == 204


def end_of(desk: IntakeDesk) -> int | None:
    (found,) = desk.store.ended_attempts()
    (row,) = desk.store.footprints(CLUSTER)
    assert row["end_s"] == found.end_s
    return found.end_s


async def test_an_end_is_taken_from_the_accounts(tmp_path: Path) -> None:
    async with IntakeDesk(tmp_path) as desk:
        start_s, seen_s = await ended(desk)
        keeper = keeper_of(desk)
        keeper.correct()  # there are no accounts yet
        assert end_of(desk) == seen_s
        write(tmp_path / "accounting", account(JOB, start_s - 5, start_s=start_s, end_s=seen_s - 40))
        keeper.correct()
        assert end_of(desk) == seen_s - 40
        keeper.follow()  # the snapshot's end does not come back
        assert end_of(desk) == seen_s - 40


async def test_accounts_that_grow_are_read_anew(tmp_path: Path) -> None:
    async with IntakeDesk(tmp_path) as desk:
        start_s, seen_s = await ended(desk)
        keeper = keeper_of(desk)
        write(tmp_path / "accounting", account(8, start_s, start_s=start_s, end_s=seen_s))
        keeper.correct()
        write(tmp_path / "accounting", account(JOB, start_s - 5, start_s=start_s, end_s=seen_s + 20))
        keeper.correct()
        assert end_of(desk) == seen_s + 20


async def test_another_attempt_or_clusters_job_of_the_number_corrects_nothing(tmp_path: Path) -> None:
    async with IntakeDesk(tmp_path) as desk:
        start_s, seen_s = await ended(desk)
        earlier = account(JOB, start_s - 900, start_s=start_s - 800, end_s=start_s - 700, state="REQUEUED")
        write(tmp_path / "accounting", earlier)
        other = account(JOB, start_s - 5, start_s=start_s, end_s=seen_s - 40)
        write(tmp_path / "accounting", other, cluster="c1")
        keeper_of(desk).correct()
        assert end_of(desk) == seen_s


async def test_a_job_that_fell_silent_and_went_on_ends_when_the_accounts_say(tmp_path: Path) -> None:
    async with IntakeDesk(tmp_path) as desk:
        await measured(desk)
        start_s = int(desk.jobs[0]["start_s"])
        desk.jobs.clear()
        desk.publish()
        keeper = keeper_of(desk, later_s=1900)
        keeper.follow()
        end_s = int(desk.now_s) + 900
        assert end_of(desk) != end_s
        write(tmp_path / "accounting", account(JOB, start_s - 5, start_s=start_s, end_s=end_s))
        keeper.correct()
        assert end_of(desk) == end_s


@pytest.mark.parametrize("damaged", [MANIFEST, "*.parquet"])
async def test_accounts_that_can_not_be_read_leave_an_end_as_it_is(tmp_path: Path, damaged: str) -> None:
    async with IntakeDesk(tmp_path) as desk:
        start_s, seen_s = await ended(desk)
        write(tmp_path / "accounting", account(JOB, start_s - 5, start_s=start_s, end_s=seen_s - 40))
        files = list((tmp_path / "accounting").rglob(damaged))
        assert files
        for file in files:
            file.write_bytes(b"{")
        keeper_of(desk).correct()
        assert end_of(desk) == seen_s
