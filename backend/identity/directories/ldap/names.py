"""Names on their way into filters and distinguished names: nothing in them may mean anything there."""

from __future__ import annotations

import re

from ldap3.core.exceptions import LDAPInvalidDnError
from ldap3.utils.dn import parse_dn

SPECIAL = frozenset(',+"\\<>;=#')
PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.@=,")
PRINCIPAL = re.compile(r"[A-Za-z0-9._-]+")
CLUSTER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,127}\$?")


class BadName(ValueError):
    """A name that no directory entry can have."""


def escape_filter_value(value: str) -> str:
    """`value` as it may stand in a filter (RFC 4515). More than must be is escaped: ldap3 trims blanks at the
    ends."""
    return "".join(chr(byte) if byte in PLAIN else f"\\{byte:02x}" for byte in value.encode())


def person_filter(template: str, name: str) -> str:
    """`template` with `{name}` replaced by the escaped name."""
    return template.replace("{name}", escape_filter_value(name))


def equals(attribute: str, value: str) -> str:
    """A filter for one attribute's value."""
    return f"({attribute}={escape_filter_value(value)})"


def any_of(filters: list[str]) -> str:
    return filters[0] if len(filters) == 1 else "(|" + "".join(filters) + ")"


def escape_dn_value(value: str) -> str:
    """`value` as it may stand in a distinguished name (RFC 4514)."""
    escaped = []
    for place, character in enumerate(value):
        edge = character == " " and place in (0, len(value) - 1)
        if character in SPECIAL or edge:
            escaped.append("\\" + character)
        elif ord(character) < 0x20 or ord(character) == 0x7F:
            escaped.append(f"\\{ord(character):02x}")
        else:
            escaped.append(character)
    return "".join(escaped)


def bind_name(template: str, name: str) -> str:
    """Whom a direct bind binds as. Raises BadName.

    A template with an equals sign is a distinguished name; else it is a principal (`{name}@ad.example.org`),
    for which there is no escaping: only plain names go in.
    """
    if "=" in template:
        return template.replace("{name}", escape_dn_value(name))
    if not PRINCIPAL.fullmatch(name):
        raise BadName(name)
    return template.replace("{name}", name)


def plain_dn(dn: str) -> str:
    """The same text for the same distinguished name, however it is written; the text itself if it is none."""
    try:
        parts = parse_dn(dn, strip=True)
    except (LDAPInvalidDnError, IndexError):
        return dn.casefold().strip()
    return ",".join(f"{kind.strip().casefold()}={_plain_value(value)}" for kind, value, _ in parts)


def _plain_value(value: str) -> str:
    unescaped = re.sub(r"\\([0-9a-fA-F]{2})", lambda m: chr(int(m[1], 16)), value)
    return re.sub(r"\s+", " ", unescaped.replace("\\", "")).strip().casefold()
