"""Slurm's commands are run in an environment of our own, with a time limit, and fail with names."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from backend.cluster.protocol import CommandMissing, SchedulerAway, SchedulerError
from backend.cluster.slurm.command import Commands


@pytest.fixture
def site(tmp_path: Path) -> Commands:
    (tmp_path / "bin").mkdir()
    return Commands(tmp_path / "bin", tmp_path / "slurm.conf", timeout_s=5.0)


def command(site: Commands, name: str, script: str) -> None:
    assert site.bin_dir is not None
    path = site.bin_dir / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_nothing_of_the_environment_is_inherited(site: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "SQUEUE_FORMAT",
        "SACCT_FORMAT",
        "SLURM_TIME_FORMAT",
        "SLURM_CLUSTERS",
        "LC_ALL",
        "LD_PRELOAD",
    ):
        monkeypatch.setenv(name, "hostile")
    command(site, "squeue", "env")
    seen = dict(line.split("=", 1) for line in site.run("squeue").splitlines())
    assert seen["SLURM_TIME_FORMAT"] == "%s"
    assert seen["TZ"] == "UTC"
    assert seen["LC_ALL"] == "C.UTF-8"
    assert seen["SLURM_CONF"] == str(site.conf)
    assert "hostile" not in seen.values()


def test_arguments_are_never_read_by_a_shell(site: Commands) -> None:
    command(site, "squeue", 'printf "%s\\n" "$@"')
    assert site.run("squeue", "$(id); `id`", "a b\n'c") == "$(id); `id`\na b\n'c\n"


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    site = Commands(tmp_path, None, timeout_s=0.3)
    command(site, "squeue", f"sleep 60 & echo $! > {tmp_path}/pid; wait")
    began = time.monotonic()
    with pytest.raises(SchedulerAway, match=r"no answer to squeue within 0\.3 s"):
        site.run("squeue")
    assert time.monotonic() - began < 3
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline and Path(f"/proc/{pid}/cmdline").exists():
        if not Path(f"/proc/{pid}/cmdline").read_bytes():
            break
        time.sleep(0.05)
    with pytest.raises((ProcessLookupError, AssertionError)):
        os.kill(pid, 0)
        raise AssertionError if not Path(f"/proc/{pid}/cmdline").read_bytes() else ValueError


@pytest.mark.parametrize(
    "words",
    [
        "slurm_load_jobs error: Unable to contact slurm controller (connect failure)",
        "sacctmgr: error: slurm_persist_conn_open_without_init: failed to open persistent connection",
        "sacct: error: Problem talking to the database: Connection refused",
    ],
)
def test_an_absent_controller_has_a_name(site: Commands, words: str) -> None:
    command(site, "squeue", f"echo '{words}' >&2; exit 1")
    with pytest.raises(SchedulerAway, match="Slurm does not answer"):
        site.run("squeue")


def test_any_other_failure_says_slurms_words(site: Commands) -> None:
    command(site, "squeue", "echo 'Invalid user: x' >&2; exit 1")
    with pytest.raises(SchedulerError, match="squeue failed: Invalid user: x"):
        site.run("squeue")


def test_a_missing_command_has_a_name(site: Commands) -> None:
    with pytest.raises(CommandMissing, match="sinfo can't be run"):
        site.run("sinfo")


def test_bytes_that_are_no_utf8_cost_no_row(site: Commands) -> None:
    command(site, "squeue", r"printf 'caf\351\n'")
    assert site.run("squeue") == "caf\ufffd\n"
