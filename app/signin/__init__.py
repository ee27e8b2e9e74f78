"""Signing in and out: password, one-time code, first set-up of the second step, and what ends a login."""

from __future__ import annotations

from app.gate.guards import Guard, Kind, Route
from app.signin.code import CodeHandler
from app.signin.enrol import EnrolHandler
from app.signin.expired import ExpiredPasswordHandler
from app.signin.out import SignOutEverywhereHandler, SignOutHandler
from app.signin.password import PasswordHandler
from app.signin.setup import SetupHandler
from app.signin.state import AgainHandler, StateHandler, TouchHandler

FORM = frozenset({"GET", "HEAD", "POST"})
POST = frozenset({"POST"})

ROUTES = [
    Route("/login", Guard.ENTRY, PasswordHandler, methods=FORM),
    Route("/login/password", Guard.ENTRY, ExpiredPasswordHandler, methods=FORM),
    Route("/login/code", Guard.HALF, CodeHandler, methods=FORM),
    Route("/login/enrol", Guard.HALF, EnrolHandler, methods=FORM),
    Route("/setup", Guard.ENTRY, SetupHandler, methods=FORM),
    Route("/logout", Guard.USER, SignOutHandler, methods=FORM),
    Route("/logout/everywhere", Guard.USER, SignOutEverywhereHandler, methods=POST),
    Route("/api/session", Guard.USER, StateHandler, Kind.API),
    Route("/api/session/touch", Guard.USER, TouchHandler, Kind.API, POST),
    Route("/api/session/again", Guard.USER, AgainHandler, Kind.API, POST),
]

__all__ = ["ROUTES"]
