"""Interactive work: request, limits, submission as the person, life cycle, the way in."""

from __future__ import annotations

from backend.sessions.model import (
    LIVE_STATES,
    OVER_STATES,
    STATES,
    AccountChoice,
    AppChoice,
    Estimate,
    Fit,
    GpuChoice,
    ImageChoice,
    LaunchOptions,
    LaunchRefused,
    LaunchRequest,
    PartitionChoice,
    Problem,
    RegistrationAnswer,
    RequestError,
    Session,
    SessionError,
    SessionNotFound,
)
from backend.sessions.routes import Entered, Route, Routes, Standing
from backend.sessions.service import Sessions, Superseded

__all__ = [
    "LIVE_STATES",
    "OVER_STATES",
    "STATES",
    "AccountChoice",
    "AppChoice",
    "Entered",
    "Estimate",
    "Fit",
    "GpuChoice",
    "ImageChoice",
    "LaunchOptions",
    "LaunchRefused",
    "LaunchRequest",
    "PartitionChoice",
    "Problem",
    "RegistrationAnswer",
    "RequestError",
    "Route",
    "Routes",
    "Session",
    "SessionError",
    "SessionNotFound",
    "Sessions",
    "Standing",
    "Superseded",
]
