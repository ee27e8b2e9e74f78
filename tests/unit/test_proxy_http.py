"""HTTP through the proxy to a real gateway."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.unit.proxy_kit import ALICE, APP, Rig, rig, told


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path) as made:
        yield made


async def test_an_app_sees_method_target_body_and_host_as_they_were_sent(house: Rig) -> None:
    target = house.url("a%20b%2Bc?x=%2F..%2F&y=a%20b")
    from yarl import URL

    async with house.client.post(URL(target, encoded=True), headers=house.headers(X_Own="1"), data=b"body") as answer:
        seen = told(await answer.read())
    assert seen["method"] == "POST"
    assert seen["uri"] == f"/s/{ALICE}/{APP}/a%20b%2Bc?x=%2F..%2F&y=a%20b"
    assert seen["body"] == "body"
    assert seen["headers"]["host"] == f"{ALICE}.localhost:5007"
    assert seen["headers"]["x-own"] == "1"


async def test_the_secret_and_what_a_client_claims_of_its_way_never_reach_an_app(house: Rig) -> None:
    forged = {
        "X-Forwarded-For": "10.0.0.1",
        "X-Forwarded-Host": "evil",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Anything": "1",
        "Forwarded": "for=10.0.0.1",
        "X-Real-IP": "10.0.0.1",
        "X-Carme-Secret": "guess",
        "X-Carme-App": "tensorboard",
        "Proxy-Authorization": "x",
        "TE": "trailers",
        "X-Gone": "1",
        "Connection": "keep-alive, X-Gone",
    }
    async with house.client.get(house.url("x"), headers=house.headers() | forged) as answer:
        names = told(await answer.read())["names"]
    assert not {name.lower() for name in forged} & set(names)


async def test_an_app_gets_its_own_cookies_only(house: Rig) -> None:
    headers = house.headers()
    headers["Cookie"] += "; carme=login; __Host-carme=login; _xsrf=2; carme-half=x; __Host-Http-carme=y; a=b"
    async with house.client.get(house.url("x"), headers=headers) as answer:
        assert told(await answer.read())["headers"]["cookie"] == "_xsrf=2; a=b"


async def test_an_apps_cookies_stay_on_its_host_and_none_is_lost_or_named_like_ours(house: Rig) -> None:
    async with house.client.get(house.url("cookies"), headers=house.headers()) as answer:
        assert answer.headers.getall("Set-Cookie") == ["_xsrf=1; Path=/", "theme=dark; Path=/s/"]


@pytest.mark.parametrize("length", ["yes", "no"])
async def test_a_long_answer_arrives_whole(house: Rig, length: str) -> None:
    size = 8_000_001
    url = house.url(f"big?bytes={size}&length={length}")
    async with house.client.get(url, headers=house.headers()) as answer:
        body = await answer.read()
        assert ("Content-Length" in answer.headers) == (length == "yes")
    assert hashlib.sha256(body).digest() == hashlib.sha256((bytes(range(256)) * 31251)[:size]).digest()


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_long_upload_arrives_whole(house: Rig, chunked: bool) -> None:
    data = os.urandom(6_000_000)

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(data), 100_003):
            yield data[at : at + 100_003]

    body = pieces() if chunked else data
    async with house.client.put(house.url("upload"), headers=house.headers(), data=body) as answer:
        seen = await answer.json()
    assert seen == {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


async def test_memory_stays_flat_when_the_browser_reads_slowly(house: Rig) -> None:
    async with house.client.get(house.url("big?bytes=300000000"), headers=house.headers()) as answer:
        await asyncio.sleep(0.5)
        (forward,) = house.proxy.ways._ways
        assert forward._upstream._end <= 512 * 1024
        assert len(forward._browser.stream._write_buffer) <= 1024 * 1024
        answer.close()


async def test_an_early_answer_is_seen_and_the_rest_of_the_upload_dropped(house: Rig) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
    head = "".join(f"{name}: {value}\r\n" for name, value in house.headers().items())
    path = f"/s/{ALICE}/{APP}/"
    length = 30_000_000
    writer.write(f"POST {path}too-large HTTP/1.1\r\n{head}Content-Length: {length}\r\n\r\n".encode())
    await writer.drain()
    first = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    assert b" 413 " in first.split(b"\r\n")[0]
    assert await reader.readexactly(9) == b"too large"
    for _ in range(length // 100_000):
        writer.write(b"x" * 100_000)
        await writer.drain()
    # the connection is still good for another request
    writer.write(f"GET {path}again HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode())
    assert b" 200 " in (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).split(b"\r\n")[0]
    writer.close()


async def test_content_encoding_and_date_are_the_apps_own(house: Rig) -> None:
    async with house.client.get(house.url("gzip"), headers=house.headers()) as answer:
        assert answer.headers.getall("Date") == ["Thu, 01 Jan 1970 00:00:00 GMT"]
        assert answer.headers["Content-Encoding"] == "gzip"
        assert await answer.read() == b"these bytes are no gzip and nobody may care"


async def test_head_and_not_modified_have_no_body(house: Rig) -> None:
    async with house.client.get(house.url("cookies"), headers=house.headers()) as answer:
        etag = answer.headers["Etag"]
    async with house.client.get(house.url("cookies"), headers=house.headers(If_None_Match=etag)) as answer:
        assert answer.status == 304
    async with house.client.head(house.url("gzip"), headers=house.headers()) as answer:
        assert answer.status == 405  # the app's own word
    async with house.client.get(house.url("x"), headers=house.headers()) as answer:
        assert answer.status == 200


async def test_a_connection_to_a_gateway_is_kept_for_the_same_app_only(house: Rig) -> None:
    async def connection(app: str) -> int:
        async with house.client.get(house.url("x", app=app), headers=house.headers()) as answer:
            return int(told(await answer.read())["connection"])

    first = await connection(APP)
    other = await connection("tensorboard")
    assert await connection(APP) == first
    assert other != first


async def test_a_kept_connection_that_went_stale_is_replaced(house: Rig) -> None:
    async with house.client.get(house.url("x"), headers=house.headers()):
        pass
    (idle,) = house.proxy.pool._idle.values()
    # the gateway's side vanishes without the proxy having been told
    idle[0].transport.get_extra_info("socket").shutdown(1)
    async with house.client.get(house.url("x"), headers=house.headers()) as answer:
        assert answer.status == 200


async def test_an_event_stream_arrives_as_it_is_sent(house: Rig) -> None:
    async with house.client.get(house.url("slow"), headers=house.headers()) as answer:
        assert await asyncio.wait_for(answer.content.readuntil(b"\n\n"), 1) == b"data: 0\n\n"


async def test_the_app_is_told_when_the_browser_leaves(house: Rig) -> None:
    async with house.client.get(house.url("slow"), headers=house.headers()) as answer:
        await answer.content.readuntil(b"\n\n")
        assert len(house.proxy.ways) == 1
    async with asyncio.timeout(2):
        while len(house.proxy.ways):
            await asyncio.sleep(0.02)


async def test_http_1_0_is_answered_too(house: Rig) -> None:
    head = "".join(f"{name}: {value}\r\n" for name, value in house.headers().items())
    answer = await house.raw(f"GET /s/{ALICE}/{APP}/big?bytes=9&length=no HTTP/1.0\r\n{head}\r\n".encode())
    assert answer.endswith(b"\r\n\r\n\0\1\2\3\4\5\6\7\10")


async def test_ambiguous_framing_is_refused(house: Rig) -> None:
    head = "".join(f"{name}: {value}\r\n" for name, value in house.headers().items())
    answer = await house.raw(
        f"POST /s/{ALICE}/{APP}/x HTTP/1.1\r\n{head}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
        "0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n".encode()
    )
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"smuggled" not in answer
