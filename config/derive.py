"""What follows from other settings: the defaults that depend on one another, and the rules between keys."""

from __future__ import annotations

import os
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from config.checks import show
from config.errors import SettingsError

Values = dict[str, dict[str, Any]]
IDLE_LEAST_S = 300


def complete(values: Values, sources: Mapping[str, str]) -> None:
    """Fill in what was left empty and refuse what doesn't go together. Raises SettingsError."""
    _fill(values)
    for rule in (_logins, _idle, _proxies, _ldap, _sessions, _accounting, _mail):
        rule(values, sources)


def _fill(values: Values) -> None:
    data: Path = values["instance"]["data_dir"]
    values["instance"]["time_zone"] = values["instance"]["time_zone"] or machine_zone()
    values["instance"]["news_file"] = values["instance"]["news_file"] or data / "news.md"
    values["web"]["public_url"] = values["web"]["public_url"] or f"http://localhost:{values['web']['port']}"
    values["apps"]["url"] = values["apps"]["url"] or f"http://{{session}}.localhost:{values['apps']['port']}"
    values["agent"]["console_url"] = values["agent"]["console_url"] or values["web"]["public_url"]
    values["launcher"]["socket"] = values["launcher"]["socket"] or data / "run" / "launcher.sock"
    values["reports"]["folder"] = values["reports"]["folder"] or data / "reports"
    values["telemetry"]["node_key_file"] = values["telemetry"]["node_key_file"] or data / "telemetry-node.key"
    if values["accounting"]["source"] == "auto":
        slurm = values["scheduler"]["kind"] == "slurm"
        values["accounting"]["source"] = ("slurmdbd" if values["slurmdbd"]["user"] else "import") if slurm else "local"
    store = values["store"]
    store["url"] = store["url"] or f"sqlite:///{data / 'carme.db'}"
    if store["password"] and "@" in store["url"]:
        head, _, tail = store["url"].rpartition("@")
        store["url"] = f"{head}:{quote(store['password'], safe='')}@{tail}"


def machine_zone() -> str:
    """This machine's zone, as a name of the tz database; UTC where it has none."""
    candidates = [os.environ.get("TZ", "").lstrip(":")]
    try:
        candidates.append(str(Path("/etc/localtime").readlink()).partition("zoneinfo/")[2])
    except OSError:
        candidates.append("")
    for name in candidates:
        try:
            if name and ZoneInfo(name):
                return name
        except (ZoneInfoNotFoundError, ValueError, OSError):
            continue
    return "UTC"


def _refuse(sources: Mapping[str, str], key: str, found: Any, allowed: str) -> None:
    raise SettingsError(sources.get(key, "default.toml"), key, show(found), allowed)


def _logins(values: Values, sources: Mapping[str, str]) -> None:
    login = values["login"]
    if login["warn_s"] >= login["idle_s"]:
        _refuse(sources, "login.warn_s", login["warn_s"], f"less than login.idle_s ({login['idle_s']})")
    if login["idle_s"] > login["absolute_s"]:
        _refuse(sources, "login.idle_s", login["idle_s"], f"at most login.absolute_s ({login['absolute_s']})")


def _idle(values: Values, sources: Mapping[str, str]) -> None:
    sessions = values["sessions"]
    limit_s = sessions["idle_timeout_s"]
    if limit_s and limit_s < IDLE_LEAST_S:
        _refuse(sources, "sessions.idle_timeout_s", limit_s, f"0, or at least {IDLE_LEAST_S}")
    if limit_s and sessions["idle_warn_s"] >= limit_s:
        allowed = f"less than sessions.idle_timeout_s ({limit_s})"
        _refuse(sources, "sessions.idle_warn_s", sessions["idle_warn_s"], allowed)


def _proxies(values: Values, sources: Mapping[str, str]) -> None:
    for text in values["web"]["trusted_proxies"]:
        try:
            ip_network(text)
        except ValueError:
            _refuse(sources, "web.trusted_proxies", text, "IP addresses or networks, such as 10.0.0.0/24")


def _ldap(values: Values, sources: Mapping[str, str]) -> None:
    ldap = values["ldap"]
    unknown = set(ldap["roles"]) - {"operator", "admin"}
    if unknown:
        _refuse(sources, "ldap.roles", sorted(unknown), "the roles operator and admin")
    if values["directory"]["kind"] != "ldap":
        return
    if not ldap["servers"]:
        _refuse(sources, "ldap.servers", [], "at least one server, since directory.kind is ldap")
    scheme = "ldaps://" if ldap["tls"] == "ldaps" else "ldap://"
    for server in ldap["servers"]:
        if not server.startswith(scheme):
            _refuse(
                sources, "ldap.servers", server, f'{scheme}host[:port], since ldap.tls is "{ldap["tls"]}"'
            )
    for key in ("base_dn",) if ldap["bind"] == "direct" else ("base_dn", "bind_dn"):
        if not ldap[key]:
            _refuse(
                sources, f"ldap.{key}", "", f'the distinguished name, since ldap.bind is "{ldap["bind"]}"'
            )
    if ldap["bind"] == "service" and not ldap["bind_password"]:
        allowed = "a file with the bind password (or CARME_LDAP__BIND_PASSWORD in the environment)"
        _refuse(sources, "ldap.bind_password_file", "", allowed)
    if ldap["bind"] == "direct" and ldap["user_dn_template"].count("{name}") != 1:
        allowed = 'a name with {name} once, such as "uid={name},ou=people,dc=example,dc=org"'
        _refuse(sources, "ldap.user_dn_template", ldap["user_dn_template"], allowed)


def _sessions(values: Values, sources: Mapping[str, str]) -> None:
    sessions = values["sessions"]
    if sessions["default_app"] not in sessions["apps"]:
        _refuse(sources, "sessions.default_app", sessions["default_app"], "one of sessions.apps")
    for image in sessions["images"]:
        if not set(image.apps) <= set(sessions["apps"]):
            _refuse(sources, "sessions.images", list(image.apps), "apps that are in sessions.apps")
    names = [image.name for image in sessions["images"]]
    if len(names) != len(set(names)):
        _refuse(sources, "sessions.images", names, "images of different names")


def _accounting(values: Values, sources: Mapping[str, str]) -> None:
    if values["accounting"]["source"] == "slurmdbd" and not values["slurmdbd"]["user"]:
        _refuse(sources, "slurmdbd.user", "", "the database account, since accounting.source is slurmdbd")


def _mail(values: Values, sources: Mapping[str, str]) -> None:
    mail = values["mail"]
    if mail["host"] and not mail["sender"]:
        _refuse(sources, "mail.sender", "", "the address that mails are from, since mail.host is set")
    if mail["password"] and mail["tls"] == "none":
        _refuse(sources, "mail.tls", "none", "starttls or tls, since a password is sent")
