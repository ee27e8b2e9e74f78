"""Acts as a web process does on sessions, without pages: a JSON request a line on stdin, an answer on stdout.

    python -m tests.cluster.web_process CONFIG [--watch] [--die STEP]

`--watch` reconciles as the web process does. `--die STEP` ends it by SIGKILL at that step of a launch:
`before-row`, `after-row`, `asked` (the launcher has the request, no answer yet), `answered` (not yet stored).
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from backend.identity import Viewer
from backend.services import Services, open_services
from backend.sessions import LaunchRefused, LaunchRequest, SessionError
from config import load_settings

ROLES = {"dora": {"operator"}, "eve": {"admin"}}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(services: Services, step: str) -> None:
    """Put the end at a step of the launch; the real code runs up to there."""
    sessions: Any = services.sessions
    insert, call = sessions._rows.insert, services.launcher.call

    def insert_and(*arguments: Any) -> Any:
        if step == "before-row":
            die()
        result = insert(*arguments)
        if step == "after-row":
            die()
        return result

    async def call_and(*arguments: Any, **named: Any) -> Any:
        asking = asyncio.ensure_future(call(*arguments, **named))
        if step == "asked":
            await asyncio.sleep(0.02)  # sent, and the launcher's child is on its way
            die()
        result = await asking
        if step == "answered":
            die()
        return result

    sessions._rows.insert = insert_and
    services.launcher.call = call_and  # type: ignore[method-assign]


def viewer(name: str) -> Viewer:
    return Viewer(
        name, name, pwd.getpwnam(name).pw_uid, frozenset({"user"} | ROLES.get(name, set())), f"of-{name}"
    )


async def do(services: Services, ask: dict[str, Any]) -> Any:
    sessions, person = services.sessions, viewer(ask["as"])
    await asyncio.to_thread(services.snapshots.refresh)
    match ask["do"]:
        case "options":
            return asdict(sessions.options(person))
        case "check":
            return [asdict(each) for each in sessions.check(person, LaunchRequest.from_dict(ask["request"]))]
        case "launch":
            request = LaunchRequest.from_dict(ask["request"])
            return asdict(await sessions.launch(person, request, key=ask.get("key", "")))
        case "get":
            return asdict(sessions.get(person, ask["id"]))
        case "list":
            return [asdict(each) for each in sessions.list(person, ask.get("owner"))]
        case "stop":
            return asdict(await sessions.stop(person, ask["id"]))
        case "log":
            return await sessions.log_tail(person, ask["id"])
        case "estimate":
            return asdict(await sessions.estimate(person, LaunchRequest.from_dict(ask["request"])))
        case "change":
            services.sessions._rows.change(ask["id"], lambda row: ask["values"])
            return None
    raise ValueError(ask["do"])


async def main(config: Path, *options: str) -> None:
    services = open_services(load_settings(config, {}))
    if "--die" in options:
        die_at(services, options[options.index("--die") + 1])
    if "--watch" in options:
        services.sessions.start()
    for line in iter(sys.stdin.readline, ""):
        try:
            answer = {"ok": await do(services, json.loads(line))}
        except LaunchRefused as refused:
            answer = {"refused": [asdict(each) for each in refused.problems]}
        except SessionError as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
    services.sessions.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
