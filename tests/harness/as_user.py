"""Installs the as-user program and its root-owned configuration inside the namespace."""

from __future__ import annotations

import json
from pathlib import Path

from tests.harness.plan import CHECKOUT, Plan
from tests.harness.world import AS_USER

SOURCE = CHECKOUT / "backend/launcher/as_user.py"
CONFIG = Path("/etc/carme/as-user.json")


def install(plan: Plan) -> bool:
    """Copy the program from the checkout as it is now; false when the checkout has none."""
    CONFIG.write_text(
        json.dumps(
            {"slurm_conf": str(plan.folder / "slurm/slurm.conf"), "path": "/usr/bin:/bin", "min_uid": 1000,
             "scheduler": "slurm"}
        )
        + "\n"
    )  # fmt: skip
    CONFIG.chmod(0o644)
    if not SOURCE.exists():
        return False
    text = SOURCE.read_text()
    if text.startswith("#!"):
        text = text.partition("\n")[2]
    fresh = AS_USER.with_suffix(".new")
    # -I: neither the caller's environment nor the current folder decides what it imports.
    fresh.write_text(f"#!/usr/bin/python3 -I\n{text}")
    fresh.chmod(0o755)
    fresh.replace(AS_USER)
    return True
