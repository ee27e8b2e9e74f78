"""What a job is given: the batch script, the agent as one file, and the session file (`AgentSpec`).

The as-user program writes `agent.pyz` and `session.json` (0600) into a 0700 folder of the person's and
submits the script with that folder as its argument: nothing of a session is ever part of a script's text.
"""

from __future__ import annotations

import functools
import io
import zipfile
from pathlib import Path

from backend.agent.spec import AgentSpec, AppSpec, RuntimeSpec, SpecError

__all__ = ["AgentSpec", "AppSpec", "RuntimeSpec", "SpecError", "agent_zipapp", "batch_script"]

_ROOT = Path(__file__).resolve().parents[2]
_ENTRY = "import sys\nfrom backend.agent.main import main\nsys.exit(main(sys.argv[1:]))\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_SHEBANG = b"#!/usr/bin/env python3\n"


@functools.cache
def agent_zipapp() -> bytes:
    """The agent as a zipapp, the same bytes for the same sources."""
    files = {"__main__.py": _ENTRY.encode(), "backend/__init__.py": b""}
    for path in sorted((_ROOT / "backend" / "agent").rglob("*.py")):
        files[path.relative_to(_ROOT).as_posix()] = path.read_bytes()
    out = io.BytesIO()
    out.write(_SHEBANG)
    with zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, content)
    return out.getvalue()


@functools.cache
def batch_script() -> str:
    """The job script: constant text, the session's folder is its argument."""
    return (_ROOT / "assets" / "job.sh").read_text(encoding="utf-8")
