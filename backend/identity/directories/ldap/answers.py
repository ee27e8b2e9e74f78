"""What a bind's answer means: result code, the password policy's response control, Active Directory's
sub-codes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

POLICY_CONTROL = "1.3.6.1.4.1.42.2.27.8.5.1"  # draft-behera-ldap-password-policy
REQUEST_POLICY = [(POLICY_CONTROL, False, None)]

SUCCESS = 0
INVALID_CREDENTIALS = 49
ABOUT_THE_NAME = frozenset({32, 34, 48, 53})  # no such object, bad DN syntax, inappropriate, unwilling
POLICY_ERRORS = (
    "passwordExpired",
    "accountLocked",
    "changeAfterReset",
    "passwordModNotAllowed",
    "mustSupplyOldPassword",
    "insufficientPasswordQuality",
    "passwordTooShort",
    "passwordTooYoung",
    "passwordInHistory",
)
# Active Directory tells these only after the right password (532, 773), or for the account (533, 701, 775).
AD_EXPIRED = frozenset({"532", "773"})
AD_LOCKED = frozenset({"533", "701", "775", "530", "531"})

Verdict = Literal["right", "wrong", "locked", "expired", "must change", "failed"]


@dataclass(frozen=True)
class Policy:
    """The response control's content; empty where there was none."""

    error: str = ""
    expires_in_s: int | None = None
    grace_left: int | None = None


@dataclass(frozen=True)
class BindAnswer:
    verdict: Verdict
    policy: Policy = Policy()
    message: str = ""  # the server's own words, for the log


def read_policy(value: bytes) -> Policy:
    """Decode the control: SEQUENCE { [0] { [0] seconds | [1] graces } OPTIONAL, [1] error OPTIONAL }.

    Anything else is read as no control at all: it comes from outside and must not decide more than it can
    say.
    """
    policy = Policy()
    outer = _element(value, 0)
    if outer is None or outer[0] != 0x30:
        return policy
    content, place = outer[1], 0
    while place < len(content):
        element = _element(content, place)
        if element is None:
            return Policy()
        tag, body, place = element
        if tag == 0xA0:
            inner = _element(body, 0)
            number = _number(inner[1]) if inner is not None else None
            if inner is not None and inner[0] == 0x80:
                policy = Policy(policy.error, number, policy.grace_left)
            elif inner is not None and inner[0] == 0x81:
                policy = Policy(policy.error, policy.expires_in_s, number)
        elif tag == 0x81:
            code = _number(body)
            known = code is not None and 0 <= code < len(POLICY_ERRORS)
            policy = Policy(POLICY_ERRORS[code] if known and code is not None else "", policy.expires_in_s)
    return policy


def _element(data: bytes, place: int) -> tuple[int, bytes, int] | None:
    """Tag, content and end of the element at `place`; lengths over 127 do not occur in this control."""
    if place + 2 > len(data) or data[place + 1] > 0x7F or place + 2 + data[place + 1] > len(data):
        return None
    end = place + 2 + data[place + 1]
    return data[place], data[place + 2 : end], end


def _number(body: bytes) -> int | None:
    return int.from_bytes(body, "big", signed=True) if body else None


def policy_of(result: Mapping[str, Any]) -> Policy:
    control = (result.get("controls") or {}).get(POLICY_CONTROL)
    value = control.get("value") if control else None
    return read_policy(value) if isinstance(value, bytes) else Policy()


def bind_answer(result: Mapping[str, Any]) -> BindAnswer:
    """The verdict on a simple bind from ldap3's result."""
    policy = policy_of(result)
    code, message = result.get("result"), str(result.get("message") or "")
    if code == SUCCESS:
        return BindAnswer("must change" if policy.error == "changeAfterReset" else "right", policy, message)
    if code in ABOUT_THE_NAME:
        return BindAnswer("wrong", policy, message)
    if code != INVALID_CREDENTIALS:
        return BindAnswer("failed", policy, f"{result.get('description')}: {message}")
    sub_code = re.search(r"\bdata ([0-9a-f]+)\b", message)
    return BindAnswer(_refused(policy.error, sub_code[1] if sub_code else ""), policy, message)


def _refused(error: str, sub_code: str) -> Verdict:
    if error == "passwordExpired" or sub_code in AD_EXPIRED:
        return "expired"
    return "locked" if error == "accountLocked" or sub_code in AD_LOCKED else "wrong"
