"""A web process's door to the telemetry process: one that hangs holds up nobody for long."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.telemetry import remote
from backend.telemetry.intake import socket_path
from backend.telemetry.remote import Remote

SHORT_S = 0.2


@pytest.fixture
def hanging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Remote]:
    """A door to a process that takes connections and says nothing, as one that is stopped does."""
    monkeypatch.setattr(remote, "ANSWER_S", SHORT_S)
    monkeypatch.setattr(remote, "WORD_S", SHORT_S)
    (tmp_path / "run").mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(socket_path(tmp_path)))
        listening.listen(50)
        yield Remote(tmp_path)


def test_a_process_that_hangs_is_waited_for_once_by_many_questions(hanging: Remote) -> None:
    begun = time.monotonic()
    for job in range(50):
        assert hanging.chunks("c", job) == []
    assert hanging.trouble is not None
    assert time.monotonic() - begun < 10 * SHORT_S


def test_it_is_asked_again_after_a_while(hanging: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "HANGS_S", 0.0)
    assert hanging.trouble is not None
    begun = time.monotonic()
    assert hanging.chunks("c", 1) == []
    assert time.monotonic() - begun >= SHORT_S
