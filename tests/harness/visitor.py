"""A browser without a screen: signs in by the forms, keeps cookies, asks pages and REST."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import pyotp
import requests

from tests.harness.console import Console

HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)"')


@dataclass
class Visitor:
    """One person's browser on one console."""

    console: Console
    name: str = ""
    http: requests.Session = field(default_factory=requests.Session)

    def url(self, path: str) -> str:
        return self.console.url + path

    def get(self, path: str, **options: Any) -> requests.Response:
        options.setdefault("allow_redirects", False)
        return self.http.get(self.url(path), timeout=30, **options)

    def post_form(self, path: str, page: str = "", **fields: str) -> requests.Response:
        """Fill the form of `page` (default: the same path) and send it to `path`."""
        form = self.http.get(self.url(page or path), timeout=30)
        hidden = dict(HIDDEN.findall(form.text))
        return self.http.post(
            self.url(path), {**hidden, **fields}, timeout=30, allow_redirects=False,
            headers={"Origin": self.console.url},
        )  # fmt: skip

    def give_password(self, name: str, password: str) -> requests.Response:
        """The first step."""
        self.name = name
        return self.post_form("/login", name=name, password=password)

    def give_code(self, code: str) -> requests.Response:
        """The second step."""
        return self.post_form("/login/code", code=code)

    def sign_in(self, name: str, password: str, secret: str) -> Visitor:
        """Both steps. Raises AssertionError when the console doesn't let the person in."""
        first = self.give_password(name, password)
        assert first.status_code in (302, 303), first.text
        second = self.give_code(pyotp.TOTP(secret).now())
        assert second.status_code in (302, 303), second.text
        return self

    def csrf(self) -> str:
        """This login's token for state changes."""
        token: str = self.api("GET", "/login").json()["csrf_token"]
        return token

    def api(self, method: str, path: str, json: Any = None, **options: Any) -> requests.Response:
        """Ask REST; state changes carry the login's token."""
        headers = {"Origin": self.console.url, **options.pop("headers", {})}
        if method != "GET":
            headers.setdefault("X-CSRF-Token", self.csrf())
        return self.http.request(
            method, self.url("/api/v1" + path), json=json, headers=headers, timeout=60, allow_redirects=False,
            **options,
        )  # fmt: skip
