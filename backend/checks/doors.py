"""The console's and the apps' addresses, as a browser would come."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from backend.checks.finding import Outcome, bad, doubtful, good
from config import Settings

ANSWER_TIMEOUT_S = 5


def check_console(settings: Settings) -> Outcome:
    """It answers, and its address is safe to use."""
    if urlsplit(settings.web.public_url).scheme == "http" and not _local(settings.web.public_url):
        return bad(
            f"{settings.web.public_url} is not HTTPS: passwords and cookies travel in the clear",
            "Put nginx with a certificate before it (config/examples/nginx.conf) and set web.public_url.",
        )
    return _answers(settings.web.address, settings.web.port, settings.web.public_url)


def check_apps_address(settings: Settings) -> Outcome:
    """The apps' origin is not the console's, its names lead somewhere, and the proxy answers."""
    apps, console = (
        urlsplit(settings.apps.url.replace("{session}", "doctor")),
        urlsplit(settings.web.public_url),
    )
    if apps.netloc.lower() == console.netloc.lower():
        return bad("the apps' address is the console's", "Give apps.url a host name of its own.")
    if "{session}" not in settings.apps.url:
        return doubtful(
            f"{settings.apps.url} is one origin for all sessions",
            "With {session} in apps.url no session's page can reach another's.",
        )
    host = apps.hostname or ""
    if not host.endswith(".localhost"):
        try:
            socket.getaddrinfo(host, None)
        except OSError:
            return bad(f"{host} has no address", f"Make a wildcard DNS entry for {host.replace('doctor', '*', 1)}.")
    if apps.scheme == "http" and not host.endswith(".localhost"):
        return bad(f"{settings.apps.url} is not HTTPS", "Put nginx with a wildcard certificate before it.")
    return _answers(settings.apps.address, settings.apps.port, settings.apps.url)


def _local(url: str) -> bool:
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")


def _answers(address: str, port: int, shown: str) -> Outcome:
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(address, address)  # noqa: S104
    try:
        with urllib.request.urlopen(f"http://{host}:{port}/healthz", timeout=ANSWER_TIMEOUT_S):
            return good(shown)
    except urllib.error.HTTPError as error:
        return bad(f"{shown}: port {port} answers {error.code}", f"Does something else use port {port}?")
    except OSError as error:
        reason = getattr(error, "reason", error)
        return doubtful(f"{shown}: nothing answers on port {port} ({reason})", "Is `carme serve` running?")
