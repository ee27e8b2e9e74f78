"""The audit trail: one line for each change of state, in the same transaction as the change."""

from __future__ import annotations

import time
from typing import Any, Literal

from sqlalchemy.orm import Session as DbSession

from backend.store.models import Audit

CONSOLE = "console"  # the actor where no person acts
Outcome = Literal["done", "refused", "failed"]


def audit(  # noqa: PLR0917 - who, what, on what, how, whence: the words of one line
    db_session: DbSession,
    actor: str,
    action: str,
    target: str = "",
    outcome: Outcome = "done",
    address: str = "",
    **detail: Any,
) -> None:
    """Add one line. `detail` must be JSON and must hold no secret. Over-long texts are cut: names come from
    outside."""
    db_session.add(
        Audit(
            time_s=int(time.time()),
            actor=actor[:128],
            action=action[:64],
            target=target[:255],
            outcome=outcome,
            address=address[:64],
            detail=detail,
        )
    )
