"""Every address of the API, in the order of the documentation."""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.gate.guards import Guard, Kind, Route
from app.rest.agent import RegisterAgent, Samples
from app.rest.base import RestHandler
from app.rest.cluster import Cluster, Nodes, Partitions, Reservations
from app.rest.describe import Description
from app.rest.embeds import Embeds, RevokeEmbed
from app.rest.history import JobHistory, JobMarks
from app.rest.jobs import Jobs
from app.rest.jobtelemetry import JobTelemetry
from app.rest.login import OwnLogin
from app.rest.onejob import (
    CancelJob,
    ExtendJob,
    HoldJob,
    JobLog,
    JobScript,
    JobVerdicts,
    OneJob,
    ReleaseJob,
    RequeueJob,
)
from app.rest.reports import OneReport, Reports, RunReport
from app.rest.sessions import EstimateStart, OneSession, Options, SessionLog, Sessions, StopSession
from app.rest.usage import Usage, UsageCatalogue, UsageJobs
from app.rest.waste import IdleNow, WasteFigures

PREFIX = "/api/v1"


@dataclass(frozen=True)
class Address:
    """A path template (`/sessions/{session}`) below the prefix, who answers it and who may call."""

    path: str
    handler: type[RestHandler]
    guard: Guard = Guard.USER

    @property
    def pattern(self) -> str:
        """As a regular expression of the whole path."""
        return PREFIX + re.sub(r"\{\w+\}", "([^/]+)", self.path.replace(".", r"\."))

    @property
    def methods(self) -> frozenset[str]:
        """What it answers."""
        return frozenset(self.handler.operations)


ADDRESSES = (
    Address("/openapi.json", Description),
    Address("/login", OwnLogin),
    Address("/sessions", Sessions),
    Address("/sessions/options", Options),
    Address("/sessions/estimate", EstimateStart),
    Address("/sessions/{session}", OneSession),
    Address("/sessions/{session}/stop", StopSession),
    Address("/sessions/{session}/log", SessionLog),
    Address("/jobs", Jobs),
    Address("/jobs/history", JobHistory),
    Address("/jobs/{job}", OneJob),
    Address("/jobs/{job}/marks", JobMarks),
    Address("/jobs/{job}/cancel", CancelJob),
    Address("/jobs/{job}/hold", HoldJob),
    Address("/jobs/{job}/release", ReleaseJob),
    Address("/jobs/{job}/requeue", RequeueJob),
    Address("/jobs/{job}/extend", ExtendJob),
    Address("/jobs/{job}/log", JobLog),
    Address("/jobs/{job}/script", JobScript),
    Address("/jobs/{job}/verdicts", JobVerdicts),
    Address("/jobs/{job}/telemetry", JobTelemetry),
    Address("/usage", Usage),
    Address("/usage/jobs", UsageJobs),
    Address("/usage/catalogue", UsageCatalogue),
    Address("/waste", WasteFigures),
    Address("/waste/idle", IdleNow),
    Address("/reports", Reports),
    Address("/reports/{report}", OneReport),
    Address("/reports/{report}/run", RunReport),
    Address("/embeds", Embeds),
    Address("/embeds/{embed}/revoke", RevokeEmbed),
    Address("/cluster", Cluster),
    Address("/cluster/nodes", Nodes),
    Address("/cluster/partitions", Partitions),
    Address("/cluster/reservations", Reservations),
    Address("/agent/register", RegisterAgent, Guard.AGENT),
    Address("/agent/samples", Samples, Guard.AGENT),
)

ROUTES = [
    Route(address.pattern, address.guard, address.handler, Kind.API, methods=address.methods) for address in ADDRESSES
]
