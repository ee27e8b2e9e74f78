"""One's own account: where one is signed in, the password, the second step, recovery codes."""

from __future__ import annotations

from app.account.changes import (
    AgainHandler,
    EndLoginHandler,
    NewPasswordHandler,
    NewRecoveryCodesHandler,
)
from app.account.factor import NewFactorHandler
from app.account.overview import AccountHandler
from app.gate.guards import Guard, Route

POST = frozenset({"POST"})
FORM = frozenset({"GET", "HEAD", "POST"})

ROUTES = [
    Route("/account", Guard.ACTION, AccountHandler, action="page:account"),
    Route("/account/again", Guard.ACTION, AgainHandler, methods=FORM, action="page:account"),
    Route("/account/password", Guard.ACTION, NewPasswordHandler, methods=POST, action="page:account"),
    Route("/account/factor", Guard.ACTION, NewFactorHandler, methods=FORM, action="page:account"),
    Route("/account/recovery", Guard.ACTION, NewRecoveryCodesHandler, methods=POST, action="page:account"),
    Route("/account/logins/end", Guard.ACTION, EndLoginHandler, methods=POST, action="page:account"),
]

__all__ = ["ROUTES"]
