"""What happens at the same moment in different processes."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.unit.identity_kit import PASSWORD, kit

RACE = """
import os, sys, time
from pathlib import Path
from tests.unit.identity_kit import kit
from backend.identity import IdentityError
k = kit(Path(sys.argv[1]))
k.clock.now_s = float(sys.argv[2])
start, cookies = Path(sys.argv[3]), sys.argv[5:]
Path(f"{start}.{os.getpid()}").touch()
while not start.exists():
    time.sleep(0.0005)
won = 0
for cookie in cookies:
    try:
        k.identity.sign_in_code(cookie, sys.argv[4], recovery=len(sys.argv[4]) > 6)
        won += 1
    except IdentityError:
        pass
print(won)
"""


def race(tmp_path: Path, now_s: float, code: str, cookies: Sequence[Sequence[str]]) -> int:
    """One process for each list of cookies tries the code at the same moment; gives how often it won."""
    start = tmp_path / "start"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(tmp_path), str(now_s), str(start), code, *mine],
            stdout=subprocess.PIPE,
            text=True,
        )
        for mine in cookies
    ]
    ready_by = time.monotonic() + 30
    while len(list(tmp_path.glob("start.*"))) < len(running) and time.monotonic() < ready_by:
        time.sleep(0.01)
    start.touch()
    return sum(int(each.communicate(timeout=60)[0]) for each in running)


def test_of_two_processes_with_the_same_code_one_wins(tmp_path: Path) -> None:
    k = kit(tmp_path)
    k.add()
    totp = k.enrol()
    cookies = [[k.identity.sign_in_password("ada", PASSWORD).cookie for _ in range(2)] for _ in range(2)]
    assert race(tmp_path, k.clock(), k.code(totp), cookies) == 1


def test_of_two_processes_with_the_same_recovery_code_one_wins(tmp_path: Path) -> None:
    k = kit(tmp_path)
    k.add()
    totp = k.enrol()
    code = k.identity.new_recovery_codes(k.sign_in(totp).cookie)[0]
    cookies = [[k.identity.sign_in_password("ada", PASSWORD).cookie for _ in range(2)] for _ in range(2)]
    assert race(tmp_path, k.clock(), code, cookies) == 1


def test_one_half_login_becomes_one_login(tmp_path: Path) -> None:
    """The same cookie in two processes, each with a code that is good."""
    k = kit(tmp_path)
    k.add()
    totp = k.enrol()
    code = k.identity.new_recovery_codes(k.sign_in(totp).cookie)[0]
    cookie = k.identity.sign_in_password("ada", PASSWORD).cookie
    assert race(tmp_path, k.clock(), code, [[cookie], [cookie]]) == 1
