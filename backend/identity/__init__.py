"""Who people are, how they prove it, and what they may do."""

from backend.identity import policy
from backend.identity.viewer import (
    Enrolment,
    LoginInfo,
    LoginTimes,
    Needs,
    Pending,
    PendingLogin,
    SignedIn,
    Viewer,
)

__all__ = [
    "Enrolment",
    "LoginInfo",
    "LoginTimes",
    "Needs",
    "Pending",
    "PendingLogin",
    "SignedIn",
    "Viewer",
    "policy",
]
