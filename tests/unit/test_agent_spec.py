"""The session file arrives as it was written, or is refused with the field's name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.agent.spec import AgentSpec, AppSpec, RuntimeSpec, SpecError
from backend.agent.supervisor import read_spec
from tests.unit.agent_kit import spec_for

SPEC = spec_for("http://127.0.0.1:5006", AppSpec("jupyterlab", "/s/x/jupyterlab/"))


@given(st.text(), st.text(st.characters(exclude_characters="\0")), st.dictionaries(st.text(), st.text()))
def test_hostile_values_arrive_unchanged(title: str, folder: str, options: dict[str, str]) -> None:
    spec = replace(
        SPEC,
        title=title,
        work_dir="/" + folder,
        apps=(AppSpec("jupyterlab", "/s/x/", options),),
        runtime=RuntimeSpec("apptainer", "/usr/bin/apptainer", "/" + title, ("/" + folder,), nv=True),
    )
    assert AgentSpec.from_json(spec.to_json()) == spec


def test_secrets_are_not_in_its_repr() -> None:
    assert SPEC.secret not in repr(SPEC)
    assert SPEC.tls_key_pem not in repr(SPEC)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("session_id", "../../etc"),
        ("session_id", "S" + "0" * 25),
        ("session_id", "s0123456789\n"),
        ("secret", "short"),
        ("tls_key_pem", ""),
        ("console_url", "file:///etc/passwd"),
        ("register_path", "api"),
        ("bind_host", "192.0.2.1"),
        ("work_dir", "relative"),
        ("work_dir", "/a\0b"),
        ("apps", []),
        ("apps", [{"name": "../x", "base_path": "/"}]),
        ("apps", [{"name": "x", "base_path": "/a b/"}]),
        ("apps", [{"name": "x", "base_path": "/\r\nX: y/"}]),
        ("apps", [{"name": "x", "base_path": "/"}, {"name": "x", "base_path": "/"}]),
        ("apps", "jupyterlab"),
        ("runtime", {"kind": "docker"}),
        ("runtime", {"kind": "apptainer", "command": "apptainer", "image": "/x.sif"}),
        ("runtime", {"kind": "apptainer", "command": "/usr/bin/apptainer", "image": "--help"}),
        ("runtime", {"binds": ["relative"]}),
        ("session_id", 5),
        ("unknown_key", 1),
    ],
)
def test_a_wrong_value_is_refused(field: str, value: Any) -> None:
    raw = json.loads(SPEC.to_json())
    raw[field] = value
    with pytest.raises(SpecError):
        AgentSpec.from_json(json.dumps(raw))


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"session_id": '])
def test_no_session_file_is_refused(text: str) -> None:
    with pytest.raises(SpecError):
        AgentSpec.from_json(text)


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "session.json"
    file.write_text(SPEC.to_json())
    file.chmod(0o600)
    assert read_spec(file) == SPEC
    file.chmod(0o640)
    with pytest.raises(SpecError, match="0600"):
        read_spec(file)
    with pytest.raises(SpecError):
        read_spec(tmp_path / "missing")
