"""Whose usage a person may see: one's own, that of the accounts one coordinates, or all."""

from __future__ import annotations

from backend.accounting.usage.terms.question import Scope
from backend.identity import Viewer, policy


def scope_of(viewer: Viewer) -> Scope:
    """The jobs whose usage the viewer may see, by the same policy as the queue."""
    if policy.allowed(viewer, "jobs.all"):
        return Scope(everything=True)
    return Scope(user=viewer.name, uid=viewer.uid, accounts=viewer.coordinates)
