"""Changing one's password in the directory, and the policy's own words when it says no."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ldap3 import MODIFY_ADD, MODIFY_DELETE, Connection
from ldap3.core.exceptions import LDAPException

from backend.identity.directories.ldap.answers import REQUEST_POLICY, SUCCESS, policy_of
from backend.identity.directories.ldap.connect import ServerFailed
from backend.identity.errors import PasswordRefused

WORDS = {
    "passwordModNotAllowed": "The directory does not let you change your password.",
    "mustSupplyOldPassword": "The directory wants the old password with the new one.",
    "insufficientPasswordQuality": "The directory finds the new password too weak.",
    "passwordTooShort": "The new password is too short for the directory.",
    "passwordTooYoung": "Your password was changed too short a time ago.",
    "passwordInHistory": "You have had that password before.",
}
CONSTRAINT_VIOLATION = 19


def change_by_extension(connection: Connection, old: str, new: str) -> None:
    """The password-modify operation (RFC 3062), as the bound person. Raises PasswordRefused, ServerFailed."""
    try:
        connection.extend.standard.modify_password(
            old_password=old.encode(), new_password=new.encode(), controls=REQUEST_POLICY
        )
    except (LDAPException, OSError, ValueError) as error:
        raise ServerFailed(f"{type(error).__name__}: {error}") from error
    _check(connection.result or {})


def change_in_active_directory(connection: Connection, dn: str, old: str, new: str) -> None:
    """Replace unicodePwd: deleting the old value and adding the new one is what "change" means there."""
    changes = {"unicodePwd": [(MODIFY_DELETE, [_quoted(old)]), (MODIFY_ADD, [_quoted(new)])]}
    try:
        connection.modify(dn, changes)
    except (LDAPException, OSError, ValueError) as error:
        raise ServerFailed(f"{type(error).__name__}: {error}") from error
    _check(connection.result or {})


def _quoted(password: str) -> bytes:
    return f'"{password}"'.encode("utf-16-le")


def _check(result: Mapping[str, Any]) -> None:
    if result.get("result") == SUCCESS:
        return
    message = str(result.get("message") or "").strip().rstrip("\x00")
    words = WORDS.get(policy_of(result).error, "")
    if not words and result.get("result") == CONSTRAINT_VIOLATION:
        words = "The new password does not satisfy the directory's policy."
    own = f'It says: "{message}".' if message else f"({result.get('description')})"
    raise PasswordRefused(f"{words or 'The directory refused the new password.'} {own}")
