"""Where a request comes from: forwarding headers are believed from the site's own proxies only."""

from __future__ import annotations

from typing import Any

import pytest
from tornado.httputil import HTTPHeaders

from app.gate.origins import Origins
from config import load_settings


def origins(**web: Any) -> Origins:
    return Origins(load_settings(None, {"CARME_DATA": "/nowhere"}, {f"web.{k}": v for k, v in web.items()}))


def site() -> Origins:
    return origins(public_url="https://console.example.org", trusted_proxies=["10.0.0.0/24", "::1"])


FORGED = {
    "Host": "inside:5006",
    "X-Forwarded-For": "127.0.0.1",
    "X-Forwarded-Host": "console.example.org",
    "X-Forwarded-Proto": "https",
    "X-Real-Ip": "127.0.0.1",
    "Forwarded": "for=127.0.0.1;host=console.example.org;proto=https",
}


def test_a_strangers_forwarding_headers_are_neither_believed_nor_passed_on() -> None:
    headers = HTTPHeaders(FORGED)
    source = site().source(headers, "192.0.2.7")
    assert (source.address, source.scheme, source.host) == ("192.0.2.7", "http", "inside:5006")
    assert list(headers) == ["Host"]
    assert not site().known(source)


def test_the_sites_proxy_is_believed() -> None:
    headers = HTTPHeaders(
        {"Host": "console.example.org", "X-Forwarded-For": "198.51.100.4", "X-Forwarded-Proto": "https"}
    )
    source = site().source(headers, "10.0.0.9")
    assert (source.address, source.origin, source.secure) == (
        "198.51.100.4",
        "https://console.example.org",
        True,
    )
    assert site().known(source)


@pytest.mark.parametrize(
    ("chain", "address"),
    [
        ("198.51.100.4", "198.51.100.4"),
        ("127.0.0.1, 198.51.100.4", "198.51.100.4"),  # the client has written the first itself
        ("evil, 198.51.100.4, 10.0.0.3", "198.51.100.4"),
        ("10.0.0.3, 10.0.0.4", "10.0.0.3"),
        ("nonsense", "10.0.0.9"),
        ("198.51.100.4, nonsense", "10.0.0.9"),
        ("", "10.0.0.9"),
        ("::ffff:198.51.100.4", "198.51.100.4"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
def test_the_client_is_the_last_address_that_is_no_proxy_of_ours(chain: str, address: str) -> None:
    headers = HTTPHeaders({"Host": "console.example.org", "X-Forwarded-Proto": "https"})
    if chain:
        headers["X-Forwarded-For"] = chain
    assert site().source(headers, "10.0.0.9").address == address


def test_a_request_through_any_proxy_is_never_this_machine_itself() -> None:
    plain = origins()
    assert plain.source(HTTPHeaders({"Host": "localhost:5006"}), "127.0.0.1").loopback
    assert not plain.source(HTTPHeaders({"Host": "x", "X-Forwarded-For": "192.0.2.1"}), "127.0.0.1").loopback
    assert not plain.source(HTTPHeaders({"Host": "x", "Forwarded": "for=127.0.0.1"}), "127.0.0.1").loopback
    trusting = origins(trusted_proxies=["127.0.0.1"])
    headers = HTTPHeaders({"Host": "x", "X-Forwarded-For": "127.0.0.1"})
    assert not trusting.source(headers, "127.0.0.1").loopback


@pytest.mark.parametrize(
    "host", ["localhost:5006", "localhost", "127.0.0.1:8080", "[::1]:5006", "LOCALHOST:1"]
)
def test_on_this_machine_each_of_its_names_will_do(host: str) -> None:
    assert origins().known(origins().source(HTTPHeaders({"Host": host}), "127.0.0.1"))


@pytest.mark.parametrize(
    "host",
    ["", "evil.test", "localhost.evil.test", "a.localhost:5006", "localhost:5006:1", "localhost@evil", "x y"],
)
def test_other_names_are_not_the_consoles(host: str) -> None:
    assert not origins().known(origins().source(HTTPHeaders({"Host": host}), "127.0.0.1"))


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "console.example.org:443", "www.console.example.org"]
)
def test_a_site_answers_to_its_one_name(host: str) -> None:
    headers = HTTPHeaders({"Host": host, "X-Forwarded-Proto": "https"})
    assert not site().known(site().source(headers, "10.0.0.9"))


def test_a_site_under_https_is_not_answered_on_plain_http() -> None:
    assert not site().known(site().source(HTTPHeaders({"Host": "console.example.org"}), "192.0.2.7"))
