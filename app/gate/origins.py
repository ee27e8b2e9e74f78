"""Where a request really comes from: its address, scheme and host, believing only the site's own proxies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from tornado.httputil import HTTPHeaders

from config import Settings

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "X-Scheme")
HOST = re.compile(r"(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")


@dataclass(frozen=True)
class Source:
    """Of one request: the client's address, and the origin it was sent to (`https://console.example.org`)."""

    address: str
    scheme: str
    host: str  # with its port, where one was given
    proxied: bool = False

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.host}"

    @property
    def secure(self) -> bool:
        return self.scheme == "https"

    @property
    def loopback(self) -> bool:
        """Sent from this machine itself, by no proxy."""
        parsed = _address(self.address)
        return parsed is not None and parsed.is_loopback and not self.proxied


class Origins:
    """What the console answers to, by its settings."""

    def __init__(self, settings: Settings) -> None:
        self.public = settings.web.public_url.rstrip("/")
        parts = urlsplit(self.public)
        self._public_host = parts.netloc.lower()
        self.secure = parts.scheme == "https"
        # On this machine alone any name of it will do, so that a port forwarded by ssh works too.
        self._any_loopback = f"{parts.hostname}" in {"localhost", "127.0.0.1", "::1"}
        self._proxies = [ip_network(text) for text in settings.web.trusted_proxies]

    def source(self, headers: HTTPHeaders, peer: str, scheme: str = "http") -> Source:
        """The request's source. Takes the forwarding headers out of `headers`, whoever sent them."""
        host = headers.get("Host", "").lower()
        chain = [part.strip() for part in headers.get("X-Forwarded-For", "").split(",") if part.strip()]
        proto = headers.get("X-Forwarded-Proto", "").rpartition(",")[2].strip().lower()
        forwarded_host = headers.get("X-Forwarded-Host", "").rpartition(",")[2].strip().lower()
        named = any(name in headers for name in FORWARDED)
        for name in FORWARDED:
            headers.pop(name, None)
        if not self.trusted(peer):
            # A proxy that we were not told of marks what it passes on: that is never this machine itself.
            return Source(peer, scheme, host, proxied=named)
        return Source(
            address=self._client(chain) or peer,
            scheme=proto if proto in ("http", "https") else scheme,
            host=forwarded_host or host,
            proxied=bool(chain),
        )

    def trusted(self, peer: str) -> bool:
        parsed = _address(peer)
        return parsed is not None and any(parsed in network for network in self._proxies)

    def _client(self, chain: Sequence[str]) -> str:
        """The last address that is no proxy of ours: those before it the client may have made up."""
        for text in reversed(chain):
            parsed = _address(text)
            if parsed is None:
                return ""
            if not any(parsed in network for network in self._proxies):
                return str(parsed)
        return str(_address(chain[0])) if chain else ""

    def known(self, source: Source) -> bool:
        """Whether the request names the console itself (and not a name that somebody else points at it)."""
        if not HOST.fullmatch(source.host):
            return False
        if source.host == self._public_host and (source.scheme == "https") == self.secure:
            return True
        return self._any_loopback and _name(source.host) in LOOPBACK_NAMES

    def same(self, source: Source, origin: str) -> bool:
        """Whether the header `Origin` names the origin the request was sent to."""
        return origin.lower() == source.origin


def _name(host: str) -> str:
    return host if host.endswith("]") else re.sub(r":[0-9]+$", "", host)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(parsed, "ipv4_mapped", None)
    return mapped or parsed
