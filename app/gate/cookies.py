"""The console's cookies: their names, their lives, and reading them where another may have added one."""

from __future__ import annotations

from tornado.httputil import HTTPHeaders
from tornado.web import RequestHandler

LOGIN = "carme"  # an opaque value; the server knows what it stands for
HALF = "carme-half"  # a password was given, nothing more
BROWSER = "carme-browser"  # somebody signed in here before

HALF_LIFE_S = 600
BROWSER_LIFE_S = 365 * 86400
MOST_VALUES = 4  # of one name in one request


class Cookies:
    """Sets and reads them. Under HTTPS their names start with `__Host-`: no other host can set those."""

    def __init__(self, *, secure: bool) -> None:
        self.secure = secure

    def name(self, name: str) -> str:
        return f"__Host-{name}" if self.secure else name

    def values(self, headers: HTTPHeaders, name: str) -> list[str]:
        """Every different value sent under this name: on plain HTTP an app on the same host could add one."""
        wanted, found = self.name(name), []
        for header in headers.get_list("Cookie"):
            for part in header.split(";"):
                key, _, value = part.strip().partition("=")
                if key == wanted and value and value not in found:
                    found.append(value)
        return found[:MOST_VALUES]

    def set(self, handler: RequestHandler, name: str, value: str, life_s: int | None = None) -> None:
        handler.set_cookie(
            self.name(name),
            value,
            path="/",
            secure=self.secure,
            httponly=True,
            samesite="Strict" if name == HALF else "Lax",
            max_age=life_s,
        )

    def clear(self, handler: RequestHandler, name: str) -> None:
        handler.clear_cookie(self.name(name), path="/", secure=self.secure, httponly=True, samesite="Lax")
