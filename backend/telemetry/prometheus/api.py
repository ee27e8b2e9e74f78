"""The HTTP interface of Prometheus: a few questions, answers in words when they fail. Blocking."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from backend.telemetry.model import TelemetryUnusable

TIMEOUT_S = 30.0
MOST_BYTES = 256 << 20
PLAIN = {"nocache": "1", "latency_offset": "1ms", "deny_partial_response": "1"}
"""What VictoriaMetrics alone knows. Without it times are moved to multiples of the step, what it shows of the newest
half minute is older than that, and where a part of a cluster is away it answers with the rest as if that were all."""


class Api:
    """One server. Safe in several threads. No HTTP proxy is used."""

    def __init__(self, url: str, token: str = "") -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects).open

    def ask(self, path: str, parameters: Mapping[str, str]) -> Any:
        """The `data` of an answer. Raises TelemetryUnusable."""
        request = urllib.request.Request(  # noqa: S310 - the settings allow http and https alone
            f"{self.url}/api/v1/{path}", urllib.parse.urlencode({**parameters, **PLAIN}).encode()
        )
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        try:
            with self._open(request, timeout=TIMEOUT_S) as answer:
                body = answer.read(MOST_BYTES + 1)
        except urllib.error.HTTPError as error:
            raise TelemetryUnusable(f"{self.url} answers {error.code}: {_reason(error)}") from error
        except (OSError, ValueError) as error:
            why = getattr(error, "reason", error)
            raise TelemetryUnusable(f"{self.url} can't be asked: {why}") from error
        if len(body) > MOST_BYTES:
            raise TelemetryUnusable(f"{self.url} answers with more than {MOST_BYTES >> 20} MB; ask for less")
        try:
            found = json.loads(body)
            if found["status"] == "success":
                return found["data"]
            raise TelemetryUnusable(f"{self.url} refuses: {str(found['error'])[:300]}")
        except (ValueError, KeyError, TypeError) as error:
            raise TelemetryUnusable(f"{self.url} is no Prometheus: its answer is not understood") from error

    def range(self, query: str, first_s: float, last_s: float, step_s: float) -> list[dict[str, Any]]:
        """Each series with `metric` (labels) and `values`, evaluated from first to last. Raises TelemetryUnusable."""
        asked = {"query": query, "start": f"{first_s:.3f}", "end": f"{last_s:.3f}", "step": f"{step_s:g}"}
        return _result(self.ask("query_range", asked))

    def instant(self, query: str, time_s: float) -> list[dict[str, Any]]:
        """Each series with `metric` and `value`. Raises TelemetryUnusable."""
        return _result(self.ask("query", {"query": query, "time": f"{time_s:.3f}"}))

    def labels(self, selector: str, first_s: float, last_s: float) -> list[dict[str, str]]:
        """The labels of all series that were there within. Raises TelemetryUnusable."""
        asked = {"match[]": selector, "start": f"{first_s:.3f}", "end": f"{last_s:.3f}"}
        found: list[dict[str, str]] = self.ask("series", asked)
        return found


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """A token must not follow wherever an answer points."""


def quoted(text: str) -> str:
    """A text as PromQL has it."""
    return json.dumps(text, ensure_ascii=False)


def _result(data: Any) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = data["result"]
    except (KeyError, TypeError) as error:
        raise TelemetryUnusable("The answer of Prometheus is not understood") from error
    return found


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read(65536))["error"])[:300]
    except (OSError, ValueError, KeyError, TypeError):
        return str(error.reason)
