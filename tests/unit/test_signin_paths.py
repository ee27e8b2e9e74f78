"""After signing in one is sent to a page of this console and nowhere else."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as some

from app.gate.paths import own_path

BASE = "http://localhost:5006/login"


@pytest.mark.parametrize(
    "path", ["/", "/jobs", "/jobs?state=running&user=ada", "/sessions/ab12", "/cluster#n1", "/a%20b"]
)
def test_own_pages_are_kept(path: str) -> None:
    assert own_path(path) == path


@pytest.mark.parametrize(
    "text",
    [
        "",
        "jobs",
        "//evil.test",
        "///evil.test",
        "/\\evil.test",
        "\\\\evil.test",
        "http://evil.test",
        "https:evil.test",
        "javascript:alert(1)",
        "/\t/evil.test",
        "/\n/evil.test",
        " /jobs",
        "/jobs\r\nSet-Cookie: a=b",
        "/jobs//evil.test",
        "/@evil.test//",
        "/ü",
        "/" + "x" * 5000,
        "/logout",
        "/login?next=/jobs",
        "/setup?token=x",
        "/api/session",
    ],
)
def test_anything_else_is_the_home_page(text: str) -> None:
    assert own_path(text) == "/"


@given(some.text(alphabet="/\\@:.?#%ab \t\r\nü", max_size=12) | some.text(max_size=30))
@example("/%0d%0aX: y")
@example("/;//x")
def test_whatever_is_asked_for_a_browser_stays_on_this_origin(text: str) -> None:
    path = own_path(text)
    assert urlsplit(urljoin(BASE, path)).netloc == "localhost:5006"
    assert path.startswith("/") and not path.startswith(("//", "/\\"))
    assert path.isascii() and not any(character.isspace() for character in path)
