"""The account page."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from app.signin.entry import EntryHandler
from backend.identity import FactorInfo, LoginInfo

# What happened, by the word in the address that the change has sent the browser back with.
SAID = {
    "password": "Your password is changed. Your other logins have ended.",
    "factor": "Your new authenticator is in use.",
    "login": "That login has ended.",
    "again": "Thank you. You can make the change now.",
}
BROWSERS = (  # the first that is named counts: most browsers also claim to be others
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("Chrome/", "Chrome or Chromium"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
)
SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


@dataclass(frozen=True)
class ShownLogin:
    id: str
    device: str
    address: str
    since: str
    seen: str
    current: bool


@dataclass(frozen=True)
class _Facts:
    factor: FactorInfo | None
    logins: list[LoginInfo]


class AccountHandler(EntryHandler):
    async def get(self) -> None:
        await show_account(self, good=SAID.get(self.get_query_argument("said", ""), ""))


async def show_account(handler: EntryHandler, *, bad: str = "", good: str = "", status: int = 200) -> None:
    """The page, with what a change has led to."""
    viewer, settings = handler.viewer, handler.services.settings
    facts = await handler.run(_facts, handler)
    zone = ZoneInfo(settings.instance.time_zone)
    factor = facts.factor
    handler.page(
        "account.html",
        status=status,
        bad=bad,
        good=good,
        roles=sorted(viewer.roles - {"user"}),
        logins=[shown(login, zone) for login in facts.logins],
        factor_since=_day(factor.confirmed_s, zone) if factor else "",
        codes_left=factor.recovery_codes_left if factor else 0,
        second_factor=settings.login.second_factor,
        fresh_minutes=max(1, settings.login.fresh_s // 60),
    )


def _facts(handler: EntryHandler) -> _Facts:
    identity, viewer = handler.services.identity, handler.viewer
    return _Facts(identity.factor(viewer), identity.logins(viewer))


def shown(login: LoginInfo, zone: ZoneInfo) -> ShownLogin:
    return ShownLogin(
        id=login.id,
        device=device(login.user_agent),
        address=login.address,
        since=_moment(login.created_s, zone),
        seen="now" if time.time() - login.input_s < 120 else _moment(login.input_s, zone),
        current=login.current,
    )


def device(user_agent: str) -> str:
    """The browser and system a person recognises, from what the browser says of itself."""
    browser = next((name for mark, name in BROWSERS if mark in user_agent), "")
    system = next((name for mark, name in SYSTEMS if mark in user_agent), "")
    if browser and system:
        return f"{browser} on {system}"
    return browser or system or re.sub(r"[^\x20-\x7e]", "", user_agent)[:60] or "Unknown browser"


def _moment(time_s: int, zone: ZoneInfo) -> str:
    return f"{datetime.fromtimestamp(time_s, zone):%-d %b %Y, %H:%M}"


def _day(time_s: int, zone: ZoneInfo) -> str:
    return f"{datetime.fromtimestamp(time_s, zone):%-d %b %Y}"
