"""Websockets through the proxy to a real gateway."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from app.proxy.activity import FrameWatch
from tests.unit.proxy_kit import ALICE, BIG_FRAME_BYTES, Rig, rig, told


@pytest_asyncio.fixture
async def house(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rig(tmp_path) as made:
        yield made


async def test_text_and_bytes_come_back_and_the_subprotocol_is_the_apps_choice(house: Rig) -> None:
    socket = await house.socket(protocols=["a", "v1.kernel.websocket.jupyter.org"])
    assert socket.protocol == "v1.kernel.websocket.jupyter.org"
    await socket.send_str("héllo")
    assert await socket.receive_str() == "héllo"
    await socket.send_bytes(b"\0\xff")
    assert await socket.receive_bytes() == b"\0\xff"
    await socket.close()


async def test_frames_of_50_mb_survive_both_ways(house: Rig) -> None:
    socket = await house.socket()
    data = os.urandom(1024) * (BIG_FRAME_BYTES // 1024)
    await socket.send_bytes(data)
    assert (await socket.receive(60)).data == data
    await socket.close()


async def test_the_apps_close_code_and_words_arrive(house: Rig) -> None:
    socket = await house.socket()
    await socket.send_str("close")
    message = await socket.receive(5)
    assert (message.type, message.data, message.extra) == (aiohttp.WSMsgType.CLOSE, 4123, "as asked")


async def test_nothing_stays_open_when_the_browser_leaves(house: Rig) -> None:
    socket = await house.socket()
    await socket.send_str("x")
    await socket.receive_str()
    assert len(house.proxy.ways) == 1
    await socket.close()
    async with asyncio.timeout(2):
        while len(house.proxy.ways):
            await asyncio.sleep(0.02)


async def test_an_app_that_refuses_the_socket_is_heard(house: Rig) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        await house.socket("no-ws")
    assert refusal.value.status == 418


async def test_a_connection_that_was_to_become_a_socket_carries_no_other_request(house: Rig) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await house.socket("no-ws")
    await asyncio.sleep(0.1)
    async with house.client.get(house.url("x"), headers=house.headers()) as answer:
        seen = told(await answer.read())
    assert not [name for name in seen["names"] if name.startswith("x-carme-")]


async def test_a_socket_closes_within_a_second_of_the_logins_end(house: Rig) -> None:
    socket = await house.socket()
    await socket.send_str("x")
    await socket.receive_str()
    house.doors.change("grant", ALICE, state="signed-out")
    ended = time.monotonic()
    message = await socket.receive(3)
    assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)
    assert time.monotonic() - ended < 1.0


async def test_a_stream_closes_within_a_second_of_the_sessions_end(house: Rig) -> None:
    async with house.client.get(house.url("slow"), headers=house.headers()) as answer:
        await answer.content.readuntil(b"\n\n")
        house.doors.change("grant", ALICE, state="over")
        with pytest.raises(aiohttp.ClientPayloadError):
            await asyncio.wait_for(answer.content.read(), 1.2)


async def test_input_in_a_socket_renews_the_idle_clock_but_pings_do_not(house: Rig) -> None:
    socket = await house.socket()
    await socket.ping()
    await asyncio.sleep(0.2)
    assert house.doors.touched == []
    for _ in range(5):
        await socket.send_str("typed")
        await socket.receive_str()
    await asyncio.sleep(0.2)
    assert house.doors.touched == ["login-alice"]
    await socket.close()


async def test_polling_does_not_renew_the_idle_clock_but_going_to_a_page_does(house: Rig) -> None:
    async with house.client.get(house.url("x"), headers=house.headers(Sec_Fetch_Mode="cors")):
        pass
    await asyncio.sleep(0.1)
    assert house.doors.touched == []
    async with house.client.get(house.url("x"), headers=house.headers(Sec_Fetch_Mode="navigate")):
        pass
    await asyncio.sleep(0.1)
    assert house.doors.touched == ["login-alice"]


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_data_frames_are_found_however_the_bytes_are_cut(step: int) -> None:
    def frame(opcode: int, size: int) -> bytes:
        if size < 126:
            head = bytes([0x80 | opcode, 0x80 | size])
        elif size < 65536:
            head = bytes([0x80 | opcode, 0xFE]) + size.to_bytes(2, "big")
        else:
            head = bytes([0x80 | opcode, 0xFF]) + size.to_bytes(8, "big")
        return head + b"mask" + b"\x81" * size

    watch = FrameWatch()

    def seen(data: bytes) -> int:
        return sum(watch.feed(data[at : at + step]) for at in range(0, len(data), step))

    assert seen(frame(9, 0) + frame(10, 100)) == 0
    assert seen(frame(2, 70_000)) == 1
    assert seen(frame(9, 125)) == 0
    assert seen(frame(1, 300)) == 1
    assert seen(frame(8, 2)) == 0


def test_code_servers_own_keep_alives_are_no_input() -> None:
    watch = FrameWatch("code-server")
    assert not watch.feed(bytes([0x82, 0x80 | 13]) + b"mask" + bytes(13))
    assert watch.feed(bytes([0x82, 0x80 | 14]) + b"mask" + bytes(14))
