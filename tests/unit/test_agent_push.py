"""The pusher: what it keeps, when it sends, and that it never stands in the way."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from backend.agent.telemetry import push
from backend.agent.telemetry.push import Door, Pusher
from backend.agent.telemetry.series import Row
from tests.unit.push_kit import Receiver, receiver, until

NOW_S = float(int(time.time()))
SENDER, KEY = "session:sabcdefgh", "k" * 43
Started = Callable[..., Pusher]


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push, "BACKOFF_S", (0.02, 0.05))
    monkeypatch.setattr(push, "REFUSED_S", (0.02, 0.05))


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def start(fast: None, said: list[str]) -> Iterator[Started]:
    running: list[Pusher] = []

    def started(url: str, key: str = KEY) -> Pusher:
        pusher = Pusher(Door(url, SENDER, key), "n1", said.append)
        pusher.start()
        running.append(pusher)
        return pusher

    yield started
    for pusher in running:
        pusher.close(0.0)


@pytest.fixture
def door() -> Iterator[Receiver]:
    with receiver() as record:
        record.keys[SENDER] = KEY
        yield record


def row(number: float) -> Row:
    return Row(7, "", "", NOW_S + number, {"cpu_cores": number})


def points(door: Receiver) -> list[float]:
    return [at_s - NOW_S for at_s in door.series(7, "", "cpu_cores")]


def test_samples_arrive_once_in_order_after_a_greeting_that_tells_the_clock(door: Receiver, start: Started) -> None:
    pusher = start(door.url)
    for number in range(3):
        pusher.add([row(float(number))])
    until(lambda: points(door) == [0.0, 1.0, 2.0])
    assert door.batches[0]["blocks"] == [] and abs(door.batches[0]["sent_s"] - time.time()) < 60
    assert [message["seq"] for message in door.batches] == sorted(message["seq"] for message in door.batches)
    assert {message["node"] for message in door.batches} == {"n1"}


def test_what_the_console_could_not_take_is_sent_again_with_the_same_bytes(door: Receiver, start: Started) -> None:
    door.answers = [204, 503, 500, 502]
    pusher = start(door.url)
    pusher.add([row(1.0)])
    until(lambda: points(door) == [1.0])
    assert len(set(door.bodies[1:])) == 1 and len(door.bodies) == 5


def test_while_the_console_is_away_nothing_is_lost_and_it_is_said_once(start: Started, said: list[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    pusher = start(f"http://127.0.0.1:{port}")
    for number in range(20):
        pusher.add([row(float(number))])
    until(lambda: said)
    record = Receiver({SENDER: KEY})
    with receiver(port, record):
        until(lambda: points(record) == [float(number) for number in range(20)])
    assert len(said) == 2 and "can't be reached" in said[0] and "again" in said[1]


def test_the_greeting_tells_the_clock_of_when_it_was_sent_not_of_when_the_console_went_away(start: Started) -> None:
    with receiver() as record:
        record.keys[SENDER] = KEY
        record.answers = [503, 503]
        start(record.url)
        until(lambda: record.batches)
    assert len(set(record.bodies)) == 3


def test_the_oldest_are_given_up_before_memory_grows(
    start: Started, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "KEPT_BYTES", 2000)
    with receiver() as record:
        record.keys[SENDER] = KEY
        record.answers = [503] * 1000
        pusher = start(record.url)
        for number in range(100):
            pusher.add([row(float(number))])
        record.answers.clear()
        pusher.add([row(100.0)])
        until(lambda: not pusher._kept)
        assert 1 < len(points(record)) < 50
    assert sum("given up" in words for words in said) == 1


def test_the_console_asks_to_be_left_alone_and_is(door: Receiver, start: Started) -> None:
    door.answers, door.retry_after = [204, 429], "1"
    began = time.monotonic()
    start(door.url).add([row(1.0)])
    until(lambda: points(door))
    assert time.monotonic() - began >= 1.0


@pytest.mark.parametrize("status", [400, 413])
def test_a_batch_the_console_can_not_read_is_left_out_and_said_once(
    door: Receiver, start: Started, said: list[str], status: int
) -> None:
    door.answers = [204, status, status]
    pusher = start(door.url)
    for number in (1.0, 2.0, 3.0):
        pusher.add([row(number)])
    until(lambda: points(door) == [3.0])
    assert len(said) == 1 and str(status) in said[0]


def test_a_job_the_console_does_not_know_yet_is_tried_again(door: Receiver, start: Started) -> None:
    door.answers = [403, 204, 403, 403]
    start(door.url).add([row(1.0)])
    until(lambda: points(door) == [1.0])


def test_a_signed_word_of_the_end_ends_it(door: Receiver, start: Started) -> None:
    door.answers = [204, 410]
    pusher = start(door.url)
    pusher.add([row(1.0)])
    until(lambda: pusher.over)
    pusher.add([row(2.0)])
    pusher.close(1.0)
    assert points(door) == [] and len(door.bodies) == 2


def test_an_unsigned_word_of_the_end_ends_nothing(door: Receiver, start: Started) -> None:
    door.answers = [204, 4100]
    pusher = start(door.url)
    pusher.add([row(1.0)])
    until(lambda: points(door) == [1.0])
    assert not pusher.over


def test_the_end_sends_what_is_left(door: Receiver, start: Started) -> None:
    pusher = start(door.url)
    pusher._began_s -= push.EARLY_S
    pusher.add([row(1.0)])
    until(lambda: points(door) == [1.0])
    pusher.add([row(2.0)])
    pusher.close(10.0)
    assert points(door) == [1.0, 2.0]


def test_a_console_that_says_nothing_holds_neither_samples_nor_the_end_up(start: Started) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        pusher = start(f"http://127.0.0.1:{deaf.getsockname()[1]}")
        done = threading.Event()

        def use() -> None:
            for number in range(50):
                pusher.add([row(float(number))])
            pusher.close(0.2)
            done.set()

        threading.Thread(target=use, daemon=True).start()
        assert done.wait(push.TIMEOUT_S / 2)


def test_an_answer_that_drips_is_cut_off(start: Started, monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    monkeypatch.setattr(push, "ANSWER_S", 0.3)
    over = threading.Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            while not over.wait(0.05):
                try:
                    connection.sendall(b"H")
                except OSError:
                    return

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=drip, args=(listener,), daemon=True)
        thread.start()
        pusher = start(f"http://127.0.0.1:{listener.getsockname()[1]}")

        def cut() -> bool:
            pusher.add([])
            return bool(said)

        until(cut, push.TIMEOUT_S / 2)
        over.set()


def test_the_key_is_never_sent_nor_shown(door: Receiver, start: Started) -> None:
    start(door.url).add([row(1.0)])
    until(lambda: points(door))
    assert all(KEY.encode() not in body for body in door.bodies)
    assert KEY not in repr(Door(door.url, SENDER, KEY))
