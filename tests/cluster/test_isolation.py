"""Nobody reaches another's session: by no door of the console, not on the node, not from a notebook."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
import requests

from tests.harness import Cluster
from tests.harness.console import Console
from tests.harness.visitor import Visitor

WAIT_S = 60


def until(claim: Callable[[], bool], within_s: float = WAIT_S) -> None:
    """Wait for `claim`. Raises AssertionError."""
    deadline = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(0.25)


@dataclass
class Open:
    """A session that is ready, its owner's browser, and the owner's way into the app."""

    owner: Visitor
    id: str
    app_url: str  # the app's first page on the apps origin
    cookies: requests.Session  # holds the apps origin's cookie


@pytest.fixture(scope="module")
def secrets(cluster: Cluster, cluster_console: Console) -> dict[str, str]:
    return {name: cluster_console.enrol(name) for name in ("ada", "bob")}


def signed_in(cluster: Cluster, console: Console, secrets: dict[str, str], name: str) -> Visitor:
    return Visitor(console).sign_in(name, cluster.people[name].password, secrets[name])


def launch(visitor: Visitor, **request: object) -> str:
    options = visitor.api("GET", "/sessions/options").json()
    answer = visitor.api("POST", "/sessions", json={**options["defaults"], **request})
    assert answer.status_code == 201, answer.text
    session: str = answer.json()["id"]
    until(lambda: visitor.api("GET", f"/sessions/{session}").json()["state"] == "ready")
    return session


def enter(visitor: Visitor, session: str, app: str = "jupyterlab") -> tuple[str, requests.Session]:
    """Follow the hand-over as a browser would; gives the app's address and the apps origin's cookies."""
    page = visitor.http.post(
        visitor.url(f"/sessions/{session}/open/{app}"), {"csrf": visitor.csrf()},
        headers={"Origin": visitor.console.url}, timeout=30,
    )  # fmt: skip
    assert page.status_code == 200, page.text
    target = re.search(r'action="([^"]+/_carme/enter)"', page.text)
    ticket = re.search(r'name="ticket" value="([^"]+)"', page.text)
    assert target and ticket, page.text
    browser = requests.Session()
    done = apps_request(browser, "POST", target[1], data={"ticket": ticket[1]}, headers={"Origin": visitor.console.url})
    assert done.status_code == 303, done.text
    parts = urlsplit(target[1])
    return f"{parts.scheme}://{parts.netloc}{done.headers['Location']}", browser


def apps_request(browser: requests.Session, method: str, url: str, **options: object) -> requests.Response:
    """Ask the apps origin. `{session}.localhost` is loopback in browsers; here the name goes into the Host header."""
    parts = urlsplit(url)
    headers = {"Host": parts.netloc, **options.pop("headers", {})}  # type: ignore[dict-item]
    request = requests.Request(method, url.replace(parts.hostname or "", "localhost", 1), headers=headers, **options)
    prepared = browser.prepare_request(request)
    # Raw paths, as an attacker's client would send them.
    prepared.url = url.replace(parts.hostname or "", "localhost", 1)
    return browser.send(prepared, timeout=30, allow_redirects=False)


@pytest.fixture(scope="module")
def of_ada(cluster: Cluster, cluster_console: Console, secrets: dict[str, str]) -> Iterator[Open]:
    ada = signed_in(cluster, cluster_console, secrets, "ada")
    session = launch(ada, gpus=0, gpu_type="", partition="")
    url, cookies = enter(ada, session)
    yield Open(ada, session, url, cookies)
    ada.api("POST", f"/sessions/{session}/stop")


@pytest.fixture(scope="module")
def bob(cluster: Cluster, cluster_console: Console, secrets: dict[str, str]) -> Visitor:
    return signed_in(cluster, cluster_console, secrets, "bob")


def test_the_owner_reaches_the_app(of_ada: Open) -> None:
    answer = apps_request(of_ada.cookies, "GET", of_ada.app_url.split("/jupyterlab/")[0] + "/jupyterlab/api/status")
    assert answer.status_code == 200, answer.text
    assert "kernels" in answer.json()


@pytest.mark.parametrize(
    "method, path", [("GET", "/sessions/{}"), ("POST", "/sessions/{}/stop"), ("GET", "/sessions/{}/log")]
)
def test_rest_answers_another_person_as_if_the_session_did_not_exist(
    of_ada: Open, bob: Visitor, method: str, path: str
) -> None:
    theirs = bob.api(method, path.format(of_ada.id))
    nobodys = bob.api(method, path.format("s" + "0" * 25))
    assert theirs.status_code == nobodys.status_code == 404
    assert theirs.text.replace(of_ada.id, "") == nobodys.text.replace("s" + "0" * 25, "")


def test_another_person_gets_no_ticket_and_the_page_tells_nothing_of_the_session(of_ada: Open, bob: Visitor) -> None:
    form = {"csrf": bob.csrf()}
    origin = {"Origin": bob.console.url}
    theirs = bob.http.post(bob.url(f"/sessions/{of_ada.id}/open/jupyterlab"), form, headers=origin, timeout=30)
    assert theirs.status_code == 404
    assert of_ada.id not in bob.get("/sessions").text
    assert of_ada.id not in json.dumps(bob.api("GET", "/sessions").json())


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Forwarded-User": "ada", "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Prefix": "/"},
        {"X-Forwarded-Host": "localhost", "Forwarded": "for=127.0.0.1;host=localhost"},
        {"X-Remote-User": "ada", "X-Carme-Secret": "x", "X-Carme-App": "jupyterlab"},
        {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        },
    ],
    ids=["plain", "forwarded-user", "forwarded-host", "gateway-headers", "websocket"],
)
@pytest.mark.parametrize(
    "path",
    [
        "{base}api/status",
        "{base}../jupyterlab/api/status",
        "/s/{own}/../{theirs}/jupyterlab/api/status",
        "/s/{own}/%2e%2e/{theirs}/jupyterlab/api/status",
        "/s/{own}%2f..%2f{theirs}/jupyterlab/api/status",
        "//s/{theirs}/jupyterlab/api/status",
    ],
)
def test_the_apps_origin_answers_another_person_404(
    of_ada: Open, of_bob: Open, headers: dict[str, str], path: str
) -> None:
    parts = urlsplit(of_ada.app_url)
    base = parts.path.split("/jupyterlab/")[0] + "/jupyterlab/"
    address = path.format(base=base, own=of_bob.id, theirs=of_ada.id)
    answer = apps_request(of_bob.cookies, "GET", f"{parts.scheme}://{parts.netloc}{address}", headers=dict(headers))
    assert answer.status_code == 404, answer.text[:300]


@pytest.fixture(scope="module")
def of_bob(bob: Visitor) -> Iterator[Open]:
    session = launch(bob, gpus=0, gpu_type="", partition="")
    url, cookies = enter(bob, session)
    yield Open(bob, session, url, cookies)
    bob.api("POST", f"/sessions/{session}/stop")


def test_a_ticket_works_once_and_for_its_own_session_only(of_ada: Open, of_bob: Open) -> None:
    page = of_ada.owner.http.post(
        of_ada.owner.url(f"/sessions/{of_ada.id}/open/jupyterlab"), {"csrf": of_ada.owner.csrf()},
        headers={"Origin": of_ada.owner.console.url}, timeout=30,
    )  # fmt: skip
    ticket = re.search(r'name="ticket" value="([^"]+)"', page.text)
    assert ticket
    bobs, adas = urlsplit(of_bob.app_url), urlsplit(of_ada.app_url)
    origin = {"Origin": of_ada.owner.console.url}

    def redeem(netloc: str) -> int:
        url = f"http://{netloc}/_carme/enter"
        answer = apps_request(requests.Session(), "POST", url, data={"ticket": ticket[1]}, headers=dict(origin))
        return answer.status_code

    assert redeem(bobs.netloc) in (403, 404)
    redeem(adas.netloc)
    assert redeem(adas.netloc) in (403, 404)


def gateway_of(cluster: Cluster, owner: str) -> tuple[str, list[str]]:
    """The port of a person's gateway and their apps' sockets, looked for on the node as root."""
    listening = cluster.run(["ss", "-Hltnp"]).stdout
    agents = cluster.run(["pgrep", "-u", owner, "-f", "agent.pyz"]).stdout.split()
    lines = [line for line in listening.splitlines() if any(f"pid={pid}," in line for pid in agents)]
    ports = [line.split()[3].rsplit(":", 1)[1] for line in lines]
    sockets = cluster.run(["find", "/tmp", "-type", "s", "-user", owner]).stdout.split()
    return ports[0], sockets


def test_on_the_node_another_unix_user_gets_403_on_the_port_and_cannot_open_the_socket(
    cluster: Cluster, of_ada: Open
) -> None:
    port, sockets = gateway_of(cluster, "ada")
    address = f"https://127.0.0.1:{port}/s/x"
    knock = cluster.run(["curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", address], user="bob")
    assert knock.stdout == "403"
    assert sockets
    for path in sockets:
        opened = cluster.run(
            ["python3", "-c", "import socket,sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])", path], user="bob"
        )
        assert "PermissionError" in opened.stderr
    files = cluster.run(["ls", "/home/ada/.local/share/carme/sessions"], user="bob")
    assert files.returncode != 0


def test_an_agent_that_registers_with_a_wrong_mac_or_another_host_changes_nothing(of_ada: Open) -> None:
    before = of_ada.owner.api("GET", f"/sessions/{of_ada.id}").json()
    forged = {
        "session": of_ada.id, "port": 22222, "node": "evil", "time_s": int(time.time()),
        "apps": {"jupyterlab": "ready"}, "mac": "0" * 64,
    }  # fmt: skip
    answer = requests.post(of_ada.owner.url("/api/v1/agent/register"), json=forged, timeout=10)
    assert answer.status_code == 403
    after = of_ada.owner.api("GET", f"/sessions/{of_ada.id}").json()
    assert (before["node"], before["state"], before["apps"]) == (after["node"], after["state"], after["apps"])
    test_the_owner_reaches_the_app(of_ada)


def test_a_job_that_carries_anothers_session_id_has_no_effect(cluster: Cluster, of_ada: Open) -> None:
    before = of_ada.owner.api("GET", f"/sessions/{of_ada.id}").json()
    forged = cluster.run(
        ["sbatch", "--parsable", "-p", "cpu", f"--job-name=carme-{of_ada.id}", "--wrap", "sleep 60"], user="bob"
    )
    job = forged.stdout.strip()
    assert job, forged.stderr
    try:
        time.sleep(12)  # a poll of the queue sees both
        after = of_ada.owner.api("GET", f"/sessions/{of_ada.id}").json()
        assert (after["job_id"], after["state"]) == (before["job_id"], "ready")
        assert cluster.run(["squeue", "-h", "-j", job]).stdout.strip(), "the forged job was touched"
    finally:
        cluster.run(["scancel", job])


def test_cookies_tossed_from_an_app_change_nothing_on_the_console(of_ada: Open) -> None:
    browser = requests.Session()
    browser.cookies.update(of_ada.owner.http.cookies)
    for name in list(of_ada.owner.http.cookies.keys()):
        tossed = {"Cookie": f"{name}=tossed; _xsrf=tossed"}
        assert requests.get(of_ada.owner.url("/api/v1/login"), headers=tossed, timeout=10).status_code in (302, 401)
    kept = browser.get(of_ada.owner.url("/api/v1/login"), headers={}, cookies={"_xsrf": "tossed"}, timeout=10)
    assert kept.json()["name"] == "ada"
