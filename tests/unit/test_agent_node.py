"""The node service: whose GPU is whose, what Prometheus sees, and what is sent of all jobs."""

from __future__ import annotations

import http.client
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.agent.node import allocation, command
from backend.agent.node.allocation import Allocations, Claim, allocated, listed
from backend.agent.node.attribution import attribute
from backend.agent.node.exposition import AT_ONCE, Exposed, address, text
from backend.agent.node.service import NodeService
from backend.agent.sampler import Gpu, GpuProcess
from backend.agent.sampler.places import Place
from backend.agent.sampler.processes import Processes
from backend.agent.telemetry.own import numbers, words
from backend.agent.telemetry.push import Door
from backend.agent.telemetry.series import Row
from backend.sessions.job import agent_zipapp
from tests.harness.console import PYTHON, ROOT
from tests.unit.push_kit import Receiver, receiver, until
from tests.unit.sampler_kit import Machine

TOKEN = "0123456789abcdef"
SHOWN = """\
JobId=12 JobName={name}
   UserId=ada(42001) GroupId=ada(42001) MCS_label=N/A
   NodeList=a100-[01-02]
   JOB_GRES=gpu:a100:3
     Nodes=a100-01 CPU_IDs=0-3 Mem=2000 GRES=gpu:a100:2(IDX:0,3)
     Nodes=a100-[02,04-05] CPU_IDs=0 Mem=2000 GRES=gpu:a100:1(IDX:1),shard:a100:4(0/4,0/4)
     Nodes=cpu-01 CPU_IDs=0 Mem=2000 GRES=
   MinCPUsNode=1 MinMemoryCPU=2000M MinTmpDiskNode=0
"""


@pytest.mark.parametrize(("node", "places"), [("a100-01", {0, 3}), ("a100-05", {1}), ("cpu-01", set())])
def test_slurm_says_which_gpus_of_a_node_a_job_has(node: str, places: set[int]) -> None:
    claim = allocated(SHOWN.format(name="train"), node)
    assert claim is not None and claim.places == places and claim.certain


def test_a_node_that_is_not_the_jobs_has_no_answer() -> None:
    assert allocated(SHOWN.format(name="train"), "a100-03") is None


def test_a_job_name_that_looks_like_an_allocation_makes_the_answer_unusable() -> None:
    forged = "x\n     Nodes=a100-01 CPU_IDs=0 Mem=1 GRES=gpu:a100:8(IDX:0-7)"
    assert allocated(SHOWN.format(name=forged), "a100-01") is None


@given(st.text(max_size=300))
def test_whatever_scontrol_prints_is_read_without_an_error(shown: str) -> None:
    allocated(shown, "n1")
    listed(shown, "n1")


@pytest.mark.parametrize(
    ("expression", "node", "named"),
    [
        ("n1", "n1", True),
        ("n1,n2", "n2", True),
        ("n[1-3]", "n2", True),
        ("n[1-3]", "n12", False),
        ("n[01-03]", "n2", False),
        ("n[08-12]", "n10", True),
        ("n[1-2,7]", "n7", True),
        ("a[1-2]b[3-4]", "a2b3", True),
        ("a[1-2]b[3-4]", "a3b3", False),
        ("n1.site", "n1xsite", False),
        ("n[²-3]", "n2", False),
        (f"n[1-{'9' * 5000}]", "n2", False),
    ],
)
def test_a_host_list_names_a_node(expression: str, node: str, named: bool) -> None:
    assert listed(expression, node) is named


def gpu(index: str, *users: int, parent: str | None = None, uuid: str = "") -> Gpu:
    processes = tuple(GpuProcess(1000 + user, 1, user) for user in users)
    number = int(index.partition(":")[0])
    return Gpu(index, uuid or f"GPU-{index}", "H100", parent, number, processes=processes)


def sure(*places: int, uuids: tuple[str, ...] = ()) -> Claim:
    return Claim(frozenset(places), uuids=frozenset(uuids))


def said(*numbers: int) -> Claim:
    return Claim(numbers=frozenset(numbers), certain=False)


CASES: dict[str, tuple[list[Gpu], dict[int, Claim], dict[int, set[str]], set[str]]] = {
    "what Slurm gave": ([gpu("0"), gpu("1")], {1: sure(0), 2: sure(1)}, {1: {"0"}, 2: {"1"}}, set()),
    "a process where nothing is known": ([gpu("0", 1)], {1: said()}, {1: {"0"}}, set()),
    "a name in an environment that nobody disputes": ([gpu("0")], {1: said(0)}, {1: {"0"}}, set()),
    "two environments name the same": ([gpu("0")], {1: said(0), 2: said(0)}, {}, {"0"}),
    "an environment names what Slurm gave another": ([gpu("0")], {1: said(0), 2: sure(0)}, {2: {"0"}}, set()),
    "an environment names what another's process uses": ([gpu("0", 2)], {1: said(0), 2: said()}, {2: {"0"}}, set()),
    "another's process on what Slurm gave": ([gpu("0", 2)], {1: sure(0), 2: sure()}, {}, {"0"}),
    "processes of two jobs": ([gpu("0", 1, 2)], {1: sure(0), 2: sure()}, {}, {"0"}),
    "a share each, one at work": ([gpu("0", 2)], {1: sure(0), 2: sure(0)}, {2: {"0"}}, set()),
    "a share each, none at work": ([gpu("0")], {1: sure(0), 2: sure(0)}, {}, {"0"}),
    "nobody's": ([gpu("0")], {1: sure()}, {}, set()),
    "MIG by number and name": (
        [gpu("0"), gpu("0:0", parent="GPU-0", uuid="MIG-a"), gpu("0:1", parent="GPU-0", uuid="MIG-b")],
        {1: sure(0, uuids=("MIG-a",)), 2: sure(1, uuids=("MIG-b",))}, {1: {"0:0"}, 2: {"0:1"}}, {"0"},
    ),
    "MIG, more named than given": (
        [gpu("0"), gpu("0:0", parent="GPU-0", uuid="MIG-a"), gpu("0:1", parent="GPU-0", uuid="MIG-b")],
        {1: sure(0, uuids=("MIG-a", "MIG-b"))}, {}, {"0"},
    ),
    "MIG, all of one job": (
        [gpu("0"), gpu("0:0", 1, parent="GPU-0", uuid="MIG-a"), gpu("0:1", 1, parent="GPU-0", uuid="MIG-b")],
        {1: said()}, {1: {"0", "0:0", "0:1"}}, set(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_gpu_is_one_jobs_or_nobodys(case: str) -> None:
    gpus, claims, owned, unowned = CASES[case]
    found = attribute(gpus, claims)
    assert found.gpus_of == owned
    assert set(found.why) == unowned and all(found.why.values())


def place(job: int, *pids: int, **folders: str) -> Place:
    return Place(job, None, "processes", folders, frozenset(pids))


def test_the_controller_is_asked_once_for_each_job_and_again_later(tmp_path: Path) -> None:
    asked: list[int] = []
    clock = [0.0]
    shown = SHOWN.format(name="train")

    def ask(job: int) -> str:
        asked.append(job)
        return shown

    known = Allocations("a100-01", Processes(str(tmp_path)), ask, lambda: clock[0])
    assert known.claims([place(12)])[12] == Claim(certain=False)
    assert known.look_up() and not known.look_up()
    for _ in range(3):
        assert known.claims([place(12)])[12].places == {0, 3}
    clock[0] += allocation.ASKED_S + 1
    known.claims([place(12)])
    assert known.look_up() and asked == [12, 12]
    assert known.claims([]) == {} and not known.look_up()


def test_without_the_controller_the_device_cgroup_tells_and_then_the_environment(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.put("devices/devices.list", "c 1:3 rwm\nc 195:2 rwm\nc 195:255 rw\n")
    machine.put("open/devices.list", "a *:* rwm\n")
    told = {"SLURM_JOB_ID": "7", "SLURMD_NODENAME": "n1", "SLURM_JOB_GPUS": "1,3", "SLURM_NODEID": "0"}
    machine.process(70, 1, uid=1000, **told)
    machine.process(80, 1, uid=1000, **{**told, "SLURM_NODEID": "1"})
    machine.process(90, 1, uid=1000, **{**told, "SLURMD_NODENAME": "n2"})
    known = Allocations("n1", Processes(str(tmp_path)), lambda _: None)
    places = [
        Place(6, None, "cgroup v1", {"devices": f"{tmp_path}/devices/"}),
        Place(7, None, "cgroup v1", {"devices": f"{tmp_path}/open/"}, frozenset([70])),
    ]
    known.claims(places)
    while known.look_up():
        pass
    claims = known.claims(places)
    assert claims[6] == Claim(numbers=frozenset([2]))
    assert claims[7] == Claim(numbers=frozenset([1, 3]), certain=False)
    for pid in (80, 90):
        known = Allocations("n1", Processes(str(tmp_path)), lambda _: None)
        known.claims([place(7, pid)])
        known.look_up()
        assert known.claims([place(7, pid)])[7] == Claim(certain=False)


WRITTEN = ["²", "²-3", "9" * 5000, "0-9999," * 18_000]


@pytest.mark.parametrize("written", [*WRITTEN, "0-" + "9" * 5000, ",".join(map(str, range(2000)))])
def test_a_list_of_gpus_is_short_and_its_numbers_are_few(written: str) -> None:
    assert len(words(written)) <= 1024
    assert all(0 <= number < 100_000 for number in numbers(written))


def test_a_list_of_gpus_is_read_as_slurm_and_cuda_write_it() -> None:
    assert words(" 0,2-4, MIG-a,,GPU-b-1") == ["0", "2", "3", "4", "MIG-a", "GPU-b-1"]
    assert numbers("0,2-4,MIG-a") == {0, 2, 3, 4}


def test_prometheus_text_escapes_what_it_is_told() -> None:
    row = Row(7, "gpu:0", 'H100 "x"\\\n', 1.0, {"gpu_power_w": 1.5, "gpu_memory_used_bytes": 85899345920.0})
    shown = text("c", "n1", [row], [row], {("gpu:1", "H100"): "two jobs"})
    labels = 'cluster="c",device="gpu:0",jobid="7",model="H100 \\"x\\"\\\\\\n",node="n1"'
    assert f"carme_job_gpu_power_w{{{labels}}} 1.5\n" in shown
    assert 'model="H100 \\"x\\"\\\\\\n",node="n1"} 85899345920\n' in shown
    assert 'carme_gpu_unattributed{cluster="c",device="gpu:1",model="H100",node="n1",reason="two jobs"} 1\n' in shown
    names = [line.split("{")[0] for line in shown.splitlines() if not line.startswith("#")]
    assert names == sorted(names)


@pytest.mark.parametrize("listen", ["", "9100", ":9100", "host:x", "host:70000"])
def test_an_address_that_is_none_is_said(listen: str) -> None:
    with pytest.raises(ValueError, match="ADDRESS:PORT"):
        address(listen)


def test_a_scraper_that_says_nothing_holds_up_no_other(tmp_path: Path) -> None:
    exposed = Exposed("127.0.0.1:0", lambda: "carme_x 1\n")
    exposed.start()
    url = f"http://127.0.0.1:{exposed.port}/metrics"
    with socket.create_connection(("127.0.0.1", exposed.port)), urllib.request.urlopen(url, timeout=10) as answer:
        assert answer.read() == b"carme_x 1\n"
    Exposed(f"unix:{tmp_path}/metrics.sock", lambda: "").start()
    Exposed(f"unix:{tmp_path}/metrics.sock", lambda: "carme_y 1\n").start()  # what an earlier run left is no hindrance
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"{tmp_path}/metrics.sock")
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        client.settimeout(10)
        content = b"".join(iter(lambda: client.recv(4096), b""))
    assert content.endswith(b"carme_y 1\n")
    (tmp_path / "file").write_text("precious")
    with pytest.raises(OSError):
        Exposed(f"unix:{tmp_path}/file", lambda: "")
    assert (tmp_path / "file").read_text() == "precious"


def scraped(port: int, authorization: str = "", timeout_s: float = 10) -> tuple[int, bytes]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics")
    if authorization:
        request.add_header("Authorization", authorization)
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.mark.parametrize("told", ["", TOKEN, "Bearer", "Bearer x", f"Basic {TOKEN}", f"Bearer {TOKEN}é"])
def test_without_the_token_nothing_is_shown(told: str) -> None:
    exposed = Exposed("127.0.0.1:0", lambda: "carme_x 1\n", token=TOKEN)
    exposed.start()
    assert scraped(exposed.port, told) == (401, b"Unauthorized\n")
    assert scraped(exposed.port, f"Bearer {TOKEN}") == (200, b"carme_x 1\n")


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        ("GET /metrics?x=1 HTTP/1.0\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\nHost: h\r\nAccept: */*\r\n\r\n", 200),
        ("GET /other HTTP/1.1\r\nHost: h\r\n\r\n", 404),
        ("HEAD /metrics HTTP/1.1\r\nHost: h\r\n\r\n", 405),
        ("POST /metrics HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", 405),
        ("GET /metrics\r\n\r\n", 400),
        ("GET /metrics HTTP/1.1\r\nno header\r\n\r\n", 400),
        (f"GET /{'x' * 100_000} HTTP/1.1\r\n\r\n", None),
    ],
)
def test_only_a_plain_question_for_metrics_is_answered_with_them(request_text: str, status: int | None) -> None:
    exposed = Exposed("127.0.0.1:0", lambda: "carme_x 1\n")
    exposed.start()
    answer = b""
    with socket.create_connection(("127.0.0.1", exposed.port), timeout=10) as client, suppress(ConnectionError):
        client.sendall(request_text.encode())
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    assert (int(answer.split()[1]) if answer else None) == status
    assert answer.endswith(b"\r\n\r\ncarme_x 1\n") is (status == 200)


def test_a_unix_socket_is_for_its_owner_and_group_from_its_first_moment(tmp_path: Path) -> None:
    Exposed(f"unix:{tmp_path}/metrics.sock", lambda: "")
    assert (tmp_path / "metrics.sock").stat().st_mode & 0o777 == 0o660


def test_requests_that_come_in_drops_leave_their_places_after_a_while() -> None:
    exposed = Exposed("127.0.0.1:0", lambda: "carme_x 1\n", deadline_s=0.5)
    exposed.start()
    with ExitStack() as opened:
        dripping = [opened.enter_context(socket.create_connection(("127.0.0.1", exposed.port))) for _ in range(AT_ONCE)]

        def drip_and_scrape() -> bool:
            for client in dripping:
                with suppress(OSError):
                    client.sendall(b"G")
            with suppress(OSError, http.client.HTTPException):
                return scraped(exposed.port) == (200, b"carme_x 1\n")
            return False

        until(drip_and_scrape)


class Pretend:
    """GPUs as a test wants them."""

    def __init__(self, *gpus: Gpu) -> None:
        self.gpus = list(gpus)

    def read(self, missing: Any) -> list[Gpu]:
        return self.gpus

    def close(self) -> None:
        pass


@pytest.fixture
def door() -> Iterator[Receiver]:
    with receiver() as record:
        record.keys["node:n1"] = "0" * 64
        yield record


def test_all_jobs_of_the_node_are_sent_and_shown_each_with_its_own(tmp_path: Path, door: Receiver) -> None:
    machine = Machine(tmp_path)
    machine.unified()
    machine.process(70, 1, uid=1000)
    machine.process(80, 1, uid=1000)
    machine.v2_job("job_7", 70, cpu_s=1.0)
    machine.v2_job("job_8", 80, cpu_s=1.0)
    one, two = (
        Gpu(str(number), f"GPU-{number}", "H100", None, number, utilisation_percent=10 + number,
            processes=(GpuProcess(pid, 1),))
        for number, pid in ((0, 70), (1, 80))
    )  # fmt: skip
    said: list[str] = []
    gpus = Pretend(one, two)
    service = NodeService(
        node="n1", cluster="c", door=Door(door.url, "node:n1", "0" * 64), listen="127.0.0.1:0", every_s=0.1,
        say=said.append, gpus=[gpus], ask=lambda _: None, root=str(tmp_path),
    )  # fmt: skip
    thread = threading.Thread(target=service.run, args=(5.0,), daemon=True)
    thread.start()
    until(lambda: 11 in door.series(8, "gpu:1", "gpu_utilisation_percent").values())
    assert door.devices(7)["n1"] == {"", "node", "gpu:0"} and door.devices(8)["n1"] == {"", "node", "gpu:1"}
    assert service.exposed is not None
    shown = urllib.request.urlopen(f"http://127.0.0.1:{service.exposed.port}/metrics", timeout=10).read().decode()
    assert 'carme_job_gpu_utilisation_percent{cluster="c",device="gpu:1",jobid="8",model="H100",node="n1"} 11' in shown
    assert 'carme_node_cpus{cluster="c",device="node",model="",node="n1"} 2' in shown
    gpus.gpus[0] = Gpu("0", "GPU-0", "H100", None, 0, processes=(GpuProcess(70, 1), GpuProcess(80, 1)))
    until(lambda: "unattributed" in service.metrics() and said)
    service.end()
    thread.join(10)
    assert not thread.is_alive()
    assert said == ["gpu:0 is counted for no job: processes of several jobs run on it: 7, 8"]


@contextmanager
def served(root: Path, gpus: Pretend, said: list[str], asked: list[int]) -> Iterator[NodeService]:
    """A node service that runs, with a controller that has no answer."""
    service = NodeService(
        node="n1", cluster="c", door=None, listen="", every_s=0.1, say=said.append, gpus=[gpus],
        ask=asked.append, root=str(root),
    )  # fmt: skip
    thread = threading.Thread(target=service.run, args=(5.0,), daemon=True)
    thread.start()
    yield service
    service.end()
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.parametrize("written", WRITTEN, ids=range(len(WRITTEN)))
def test_what_one_job_writes_into_its_environment_costs_no_other_its_figures(tmp_path: Path, written: str) -> None:
    machine = Machine(tmp_path)
    for job, gpus_of_it in ((7, written), (8, "1")):
        machine.process(job * 10, 1, uid=0, title=f"slurmstepd: [{job}.batch]")
        told = {"SLURM_JOB_ID": str(job), "SLURM_STEP_GPUS": gpus_of_it, "SLURM_CPUS_ON_NODE": gpus_of_it}
        machine.process(job * 10 + 1, job * 10, uid=1000 + job, cpu_s=1.0, **told)
    said: list[str] = []
    asked: list[int] = []
    busy = Gpu("1", "GPU-1", "H100", None, 1, utilisation_percent=10, processes=(GpuProcess(81, 1),))
    gpus = Pretend(busy)
    with served(tmp_path, gpus, said, asked) as service:
        until(lambda: set(asked) == {7, 8})
        gpus.gpus[0] = busy._replace(utilisation_percent=11)
        shown = 'carme_job_gpu_utilisation_percent{cluster="c",device="gpu:1",jobid="8",model="H100",node="n1"} 11'
        until(lambda: shown in service.metrics())
        assert 'carme_job_processes{cluster="c",device="",jobid="7"' in service.metrics()
    assert not said


def test_a_first_look_that_fails_is_a_gap(tmp_path: Path) -> None:
    class FailsOnce(Pretend):
        def read(self, missing: Any) -> list[Gpu]:
            if not said:
                raise RuntimeError("no driver yet")
            return []

    Machine(tmp_path)
    said: list[str] = []
    with served(tmp_path, FailsOnce(), said, []) as service:
        until(lambda: "carme_node_cpus" in service.metrics())
    assert said == ["a look at this node failed: RuntimeError('no driver yet')"]


def node_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PYTHON, "-m", "app.cli", "agent", "node", *arguments], cwd=ROOT, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


def test_a_service_that_nobody_would_see_is_refused() -> None:
    done = node_command()
    assert done.returncode == 2 and "--listen" in done.stderr


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [("0" * 64, 0o644, "0600"), ("secret", 0o600, "no node key"), (None, 0o600, "can't be read")],
)
def test_a_key_that_is_open_to_others_or_none_is_refused(
    tmp_path: Path, content: str | None, mode: int, words: str
) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_text(content)
        file.chmod(mode)
    with pytest.raises(command.NodeWrong, match=words):
        command.read_key(str(file))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--token-file"),
        (["--token-file", "open"], "0600"),
        (["--token-file", "short"], "16 characters"),
        (["--token-file", "none"], "can't be read"),
    ],
)
def test_an_address_without_a_token_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content, mode in (("open", TOKEN, 0o640), ("short", "secret", 0o600)):
        Path(name).write_text(content)
        Path(name).chmod(mode)
    assert command.main(["--listen", "127.0.0.1:0", *arguments]) == 2
    assert words in capsys.readouterr().out


@pytest.mark.parametrize(
    ("listen", "arguments", "token"),
    [
        ("127.0.0.1:0", ["--token-file", "token"], TOKEN),
        ("127.0.0.1:0", ["--open"], ""),
        ("unix:metrics.sock", [], ""),
        ("unix:metrics.sock", ["--token-file", "token"], TOKEN),
    ],
)
def test_what_is_shown_asks_for_the_token_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listen: str, arguments: list[str], token: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("token").touch(mode=0o600)
    Path("token").write_text(f"{TOKEN}\n")
    made: list[dict[str, Any]] = []

    def service(**told: Any) -> Any:
        made.append(told)
        raise OSError("enough")

    monkeypatch.setattr(command, "NodeService", service)
    assert command.main(["--cluster", "c", "--listen", listen, *arguments]) == 2
    assert made[0]["token"] == token


HEAVY = {"asyncio", "dataclasses", "email", "http", "inspect", "pathlib", "ssl", "urllib"}
"""Together nine megabytes; `ssl` is loaded where the console's address asks for it."""


def test_the_service_loads_nothing_heavy(tmp_path: Path) -> None:
    packed = tmp_path / "agent.pyz"
    packed.write_bytes(agent_zipapp())
    code = f"import sys; sys.path.insert(0, {str(packed)!r}); import backend.agent.main, backend.agent.node.command"
    python = [PYTHON, "-I", "-S", "-c", f"{code}; print(*sys.modules)"]
    loaded = subprocess.run(python, capture_output=True, text=True, check=True, timeout=60).stdout.split()
    assert not HEAVY & set(loaded)


def test_a_packed_agent_serves_a_node_by_itself(tmp_path: Path) -> None:
    packed = tmp_path / "agent.pyz"
    subprocess.run([PYTHON, "-m", "app.cli", "agent", "pack", str(packed)], cwd=ROOT, check=True, timeout=60)
    done = subprocess.run(
        [PYTHON, "-I", str(packed), "node", "--help"], capture_output=True, text=True, check=True, timeout=60
    )
    assert "--key-file" in done.stdout
