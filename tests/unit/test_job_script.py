"""The job: one constant script, one file for the agent, and nothing of a person in either."""

from __future__ import annotations

import ast
import hashlib
import os
import ssl
import subprocess
import sys
import time
import zipfile
from io import BytesIO
from pathlib import Path

import pytest

from backend.sessions.certs import make_certificate
from backend.sessions.job import agent_zipapp, batch_script
from tests.unit.agent_kit import SESSION

ROOT = Path(__file__).resolve().parents[2]
AGENT = sorted((ROOT / "backend" / "agent").rglob("*.py"))


def recorder(folder: Path, name: str) -> None:
    """A program on PATH that writes its arguments, one a line in hex, into `arguments`."""
    path = folder / name
    path.write_text(
        f'#!{sys.executable}\nimport os, sys\nif "-c" in sys.argv: sys.exit(0)\n'
        f'open({str(path) + ".new"!r}, "w").write("\\n".join(a.encode().hex() for a in sys.argv))\n'
        f"os.rename({str(path) + '.new'!r}, {str(path) + '.arguments'!r})\n"
    )
    path.chmod(0o755)


def run_script(tmp_path: Path, folder: str, name: str = "python3", **env: str) -> list[str]:
    """The argument list that the program `name` is given; programs are replaced by recorders."""
    tools = tmp_path / "tools"
    tools.mkdir()
    recorder(tools, "python3")
    recorder(tools, "srun")
    (tmp_path / "job").write_text(batch_script())
    subprocess.run(
        ["/bin/sh", str(tmp_path / "job"), folder],
        env={"PATH": f"{tools}:/usr/bin:/bin", **env},
        cwd=tmp_path,
        check=True,
        timeout=20,
    )
    return arguments(tools / f"{name}.arguments")


def arguments(file: Path) -> list[str]:
    """What a recorder wrote."""
    until_s = time.monotonic() + 10
    while not file.exists() and time.monotonic() < until_s:
        time.sleep(0.02)  # the step is started beside the script
    return [bytes.fromhex(line).decode() for line in file.read_text().splitlines()]


@pytest.mark.parametrize("folder", ["/home/anna/s1", "/home/a b/$(touch owned) `touch owned`;'\"\n*", "-n"])
def test_the_folder_is_one_argument_whatever_its_name(tmp_path: Path, folder: str) -> None:
    argv = run_script(tmp_path, folder)
    assert argv[1:] == ["-I", f"{folder}/agent.pyz", "run", f"{folder}/session.json"]
    assert not (tmp_path / "owned").exists()


def test_on_several_nodes_each_gets_an_agent(tmp_path: Path) -> None:
    argv = run_script(tmp_path, "/f o", "srun", SLURM_JOB_NUM_NODES="3", SLURMD_NODENAME="n1")
    assert {"--overlap", "--ntasks-per-node=1", "--nodes=2", "--exclude=n1"} <= set(argv)
    assert argv[-4:] == ["-I", "/f o/agent.pyz", "stand-by", "/f o/session.json"]
    first = arguments(tmp_path / "tools" / "python3.arguments")
    assert first[1:] == ["-I", "/f o/agent.pyz", "run", "/f o/session.json"]


def test_without_a_python_that_will_do_the_job_says_so(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    old = tools / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    (tmp_path / "job").write_text(batch_script())
    done = subprocess.run(
        ["/bin/sh", str(tmp_path / "job"), "/f"],
        env={"PATH": str(tools)},
        capture_output=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == 2
    assert b"3.9" in done.stderr


def test_the_zipapp_is_the_same_for_the_same_sources() -> None:
    first = agent_zipapp()
    agent_zipapp.cache_clear()
    assert hashlib.sha256(first).digest() == hashlib.sha256(agent_zipapp()).digest()
    assert {path.relative_to(ROOT).as_posix() for path in AGENT} <= set(zipfile.ZipFile(BytesIO(first)).namelist())


def test_the_zipapp_runs_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "agent.pyz"
    path.write_bytes(agent_zipapp())
    done = subprocess.run(
        [sys.executable, "-I", str(path)],
        cwd=tmp_path,
        env={"PATH": os.defpath},
        capture_output=True,
        check=False,
        timeout=20,
    )
    assert done.returncode == 2
    assert b"usage" in done.stderr


@pytest.mark.parametrize("path", AGENT, ids=lambda path: path.relative_to(ROOT / "backend" / "agent").as_posix())
def test_the_agent_is_standard_library_of_python_3_9(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert {alias.name.split(".")[0] for alias in node.names} <= sys.stdlib_module_names
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            assert (node.module or "").split(".")[0] in sys.stdlib_module_names
        inside = len(path.relative_to(ROOT / "backend" / "agent").parts)
        assert not isinstance(node, ast.ImportFrom) or node.level <= inside


def test_a_certificate_is_the_sessions_own_and_its_fingerprint_is_of_its_der() -> None:
    certificate, key, fingerprint = make_certificate(SESSION)
    assert hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate)).hexdigest() == fingerprint
    assert "PRIVATE KEY" in key
    assert make_certificate(SESSION)[2] != fingerprint
