"""What a person does to a job from its page, on real Slurm: as themself, with Slurm's own words where it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.apart import until
from tests.cluster.web import PLAIN
from tests.harness import Cluster
from tests.harness.console import Console
from tests.harness.visitor import Visitor

SOON = {"slurm": {"jobs_every_s": 1, "nodes_every_s": 2, "accounts_every_s": 5}, "accounting": {"sync_every_s": 5}}
SCRIPT = "#!/bin/sh\n#SBATCH --requeue\necho printed by $SLURM_JOB_ID\nsleep 600\n"


@pytest.fixture(scope="module")
def console(cluster: Cluster) -> Iterator[Console]:
    running = Console.on(cluster, {**PLAIN, **SOON}, name="actions")
    yield running
    running.stop()


def visitor(cluster: Cluster, console: Console, name: str) -> Visitor:
    return Visitor(console).sign_in(name, cluster.people[name].password, console.enrol(name))


@pytest.fixture(scope="module")
def ada(cluster: Cluster, console: Console) -> Visitor:
    return visitor(cluster, console, "ada")


@pytest.fixture(scope="module")
def dora(cluster: Cluster, console: Console) -> Visitor:
    """A Slurm operator."""
    return visitor(cluster, console, "dora")


@pytest.fixture(autouse=True)
def tidy(cluster: Cluster) -> Iterator[None]:
    yield
    cluster.cancel_all_jobs()


def submit(cluster: Cluster, person: Visitor, *options: str, script: str = SCRIPT) -> int:
    """A job of the person's, known to the console."""
    argv = ["sbatch", "--parsable", "-p", "cpu", "-c1", "--mem=100M", "-t", "30", "-J", "shape", *options]
    done = cluster.run(argv, user=person.name, input=script, cwd=f"/home/{person.name}", check=True)
    number = int(done.stdout.strip().split(";")[0])
    until(lambda: person.api("GET", f"/jobs/{number}").json().get("in_queue"))
    return number


def state(person: Visitor, number: int, wanted: str) -> dict[str, Any]:
    def there() -> dict[str, Any] | None:
        found: dict[str, Any] = person.api("GET", f"/jobs/{number}").json()
        return found if found["state"] == wanted else None

    found: dict[str, Any] = until(there)
    return found


def test_a_waiting_job_is_held_and_released(cluster: Cluster, ada: Visitor) -> None:
    number = submit(cluster, ada, "--begin=now+1hour")
    assert ada.api("POST", f"/jobs/{number}/hold").status_code == 202
    until(lambda: ada.api("GET", f"/jobs/{number}").json()["reason"] == "JobHeldUser")
    again = ada.api("POST", f"/jobs/{number}/hold")
    assert (again.status_code, again.json()["detail"]) == (409, "It is held already.")
    assert ada.api("POST", f"/jobs/{number}/release").status_code == 202
    until(lambda: ada.api("GET", f"/jobs/{number}").json()["reason"] != "JobHeldUser")


def test_a_person_lowers_a_limit_and_slurm_lets_only_an_operator_raise_it(
    cluster: Cluster, ada: Visitor, dora: Visitor
) -> None:
    number = submit(cluster, ada)
    state(ada, number, "RUNNING")
    assert ada.api("POST", f"/jobs/{number}/extend", json={"time_s": 1200}).status_code == 202
    until(lambda: ada.api("GET", f"/jobs/{number}").json()["time_limit_s"] == 1200)
    refused = ada.api("POST", f"/jobs/{number}/extend", json={"time_s": 3000})
    assert refused.status_code == 409
    assert "only its operators raise a time limit" in refused.json()["detail"]
    assert dora.api("POST", f"/jobs/{number}/extend", json={"time_s": 3000}).status_code == 202
    until(lambda: ada.api("GET", f"/jobs/{number}").json()["time_limit_s"] == 3000)


def test_a_requeued_job_has_two_attempts(cluster: Cluster, ada: Visitor) -> None:
    number = submit(cluster, ada)
    first = state(ada, number, "RUNNING")
    assert ada.api("POST", f"/jobs/{number}/requeue").status_code == 202
    until(lambda: ada.api("GET", f"/jobs/{number}").json()["restarts"] == 1)

    def both() -> list[str]:
        found = ada.api("GET", f"/jobs/{number}").json()
        states = [row["state"] for row in found["attempts"]]
        return states if len(states) == 2 and found["origin_s"] == first["submit_s"] else []

    assert until(both, within_s=60)[1] == "REQUEUED"


def test_what_it_printed_and_its_script_are_its_owners_alone(
    cluster: Cluster, ada: Visitor, dora: Visitor
) -> None:
    number = submit(cluster, ada)
    state(ada, number, "RUNNING")
    log = until(lambda: ada.api("GET", f"/jobs/{number}/log").json().get("text"))
    assert log == f"printed by {number}\n"
    assert ada.api("GET", f"/jobs/{number}/script").json()["text"] == SCRIPT
    assert "NONE" not in ada.api("GET", f"/jobs/{number}/script?kind=environment").json()["text"]
    for part in ("log", "script"):
        assert dora.api("GET", f"/jobs/{number}/{part}").status_code == 404


def test_an_ended_job_is_found_by_its_number_with_how_it_ended(cluster: Cluster, ada: Visitor) -> None:
    number = submit(cluster, ada, script="#!/bin/sh\nexit 7\n")
    until(lambda: ada.api("GET", f"/jobs/{number}").json()["attempts"], within_s=60)
    found = state(ada, number, "FAILED")
    assert "exit code 7" in found["words"]
    assert ada.api("GET", f"/jobs/{number}/log").json()["text"] == ""
