"""Finding a person's entry and the groups it is in, directly and by way of other groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ldap3 import SUBTREE, Connection
from ldap3.core.exceptions import LDAPException

from backend.identity.directories.ldap.connect import ServerFailed
from backend.identity.directories.ldap.names import any_of, equals, person_filter, plain_dn
from config import Ldap

IN_CHAIN = "1.2.840.113556.1.4.1941"  # Active Directory: member, however deep
SIZE_LIMIT_EXCEEDED = 4
NO_SUCH_OBJECT = 32
AT_ONCE = 40  # groups asked for in one filter
DEEPEST = 20
MOST_GROUPS = 5000


@dataclass(frozen=True)
class Entry:
    """A person's entry."""

    dn: str
    name: str
    display_name: str
    mail: str
    uid: int | None


@dataclass(frozen=True)
class Group:
    dn: str
    name: str

    def is_called(self, wanted: str) -> bool:
        """Whether the settings mean this group by `wanted`, a name or a distinguished name."""
        if "=" in wanted:
            return plain_dn(wanted) == plain_dn(self.dn)
        return wanted.casefold() == self.name.casefold()


def find(connection: Connection, settings: Ldap, name: str) -> Entry | None:
    """The one entry of that name; None when there is none or the filter is ambiguous. Raises ServerFailed."""
    rows = _search(
        connection,
        settings,
        settings.base_dn,
        person_filter(settings.user_filter, name),
        _person_attributes(settings),
        most=2,
    )
    if len(rows) != 1:
        return None
    return _entry(settings, rows[0])


def groups(connection: Connection, settings: Ldap, entry: Entry) -> list[Group]:
    """Every group the person is in. Raises ServerFailed."""
    if settings.active_directory and settings.nested_groups:
        return _group_search(connection, settings, [equals(f"member:{IN_CHAIN}:", entry.dn)])
    first = [equals("member", entry.dn), equals("uniqueMember", entry.dn), equals("memberUid", entry.name)]
    found = {plain_dn(group.dn): group for group in _group_search(connection, settings, first)}
    newest = list(found.values())
    for _ in range(DEEPEST if settings.nested_groups else 0):
        above: dict[str, Group] = {}
        for start in range(0, len(newest), AT_ONCE):
            filters = [
                equals(attribute, group.dn)
                for group in newest[start : start + AT_ONCE]
                for attribute in ("member", "uniqueMember")
            ]
            for group in _group_search(connection, settings, filters):
                above.setdefault(plain_dn(group.dn), group)
        newest = [group for key, group in above.items() if key not in found]  # a circle ends here
        found.update((plain_dn(group.dn), group) for group in newest)
        if not newest or len(found) > MOST_GROUPS:
            break
    return list(found.values())


def roles(settings: Ldap, member_of: list[Group]) -> frozenset[str]:
    return frozenset(
        role
        for role, names in settings.roles.items()
        if any(group.is_called(wanted) for group in member_of for wanted in names)
    )


def may_use(settings: Ldap, member_of: list[Group]) -> bool:
    allowed = settings.allowed_groups
    return not allowed or any(group.is_called(wanted) for group in member_of for wanted in allowed)


def _person_attributes(settings: Ldap) -> list[str]:
    wanted = (
        settings.name_attribute,
        settings.uid_attribute,
        settings.mail_attribute,
        settings.display_attribute,
    )
    return [attribute for attribute in wanted if attribute]


def _group_search(connection: Connection, settings: Ldap, member_filters: list[str]) -> list[Group]:
    text = f"(&{settings.group_filter}{any_of(member_filters)})"
    base = settings.group_base_dn or settings.base_dn
    attribute = settings.group_name_attribute
    rows = _search(connection, settings, base, text, [attribute], most=MOST_GROUPS)
    return [Group(row["dn"], _first(row["attributes"], attribute)) for row in rows]


def _search(
    connection: Connection, settings: Ldap, base: str, text: str, attributes: list[str], *, most: int
) -> list[Mapping[str, Any]]:
    try:
        connection.search(
            base,
            text,
            search_scope=SUBTREE,
            attributes=attributes,
            size_limit=most,
            time_limit=max(1, round(settings.timeout_s)),
        )
    except (LDAPException, OSError, ValueError) as error:
        raise ServerFailed(f"{type(error).__name__}: {error}") from error
    code = (connection.result or {}).get("result")
    if code not in (0, SIZE_LIMIT_EXCEEDED, NO_SUCH_OBJECT):
        raise ServerFailed(f"search under {base}: {connection.result.get('description')}")
    return [row for row in connection.response or [] if row.get("type") == "searchResEntry"]  # no referrals


def _entry(settings: Ldap, row: Mapping[str, Any]) -> Entry:
    attributes = row["attributes"]
    number = _first(attributes, settings.uid_attribute)
    return Entry(
        dn=row["dn"],
        name=_first(attributes, settings.name_attribute),
        display_name=_first(attributes, settings.display_attribute)[:255],
        mail=_first(attributes, settings.mail_attribute)[:255],
        uid=int(number) if number.isascii() and number.isdigit() else None,
    )


def _first(attributes: Mapping[str, Any], name: str) -> str:
    """The attribute's first value as text; empty when there is none."""
    if not name:
        return ""
    value = next((held for key, held in attributes.items() if key.casefold() == name.casefold()), None)
    if isinstance(value, list | tuple):
        value = value[0] if value else None
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    return "" if value is None else str(value)
