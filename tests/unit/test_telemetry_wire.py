"""What a batch may be. Whatever arrives: a batch that makes sense, or words that say why it doesn't."""

from __future__ import annotations

import copy
import json
import math
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.agent.telemetry import batch as agents
from backend.agent.telemetry.series import Row
from backend.telemetry import BY_NAME, METRICS
from backend.telemetry.intake.wire import HIGHEST, MOST_BYTES, BadBatch, TooLarge, read

GOOD: dict[str, Any] = {
    "v": 1, "boot": "0123456789abcdef", "seq": 2, "sent_s": 1.78e9, "mono_s": 5.5, "node": "n1",
    "blocks": [
        {"job": 7, "device": "gpu:0", "model": "NVIDIA A100", "t": [1.78e9 - 20, 1.78e9 - 10],
         "m": {"gpu_power_w": [400, None], "gpu_utilisation_percent": [99.5, 0]}},
        {"job": 7, "device": "", "model": "", "t": [1.78e9], "m": {"cpu_cores": [0.25]}},
    ],
}  # fmt: skip
DEVICES = {"job": "", "gpu": "gpu:0:1", "fs": "fs:scratch", "node": "node"}


def sent(text: str | bytes) -> bytes:
    return zlib.compress(text if isinstance(text, bytes) else text.encode())


def changed(path: str, value: Any) -> bytes:
    """The good batch with one thing in it replaced; `path` as in `blocks.0.t.1`."""
    message = copy.deepcopy(GOOD)
    *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    at: Any = message
    for part in way:
        at = at[part]
    at[last] = value
    return sent(json.dumps(message))


def test_a_good_batch_is_read() -> None:
    found = read(sent(json.dumps(GOOD)))
    gpu, job = found.blocks
    assert (found.boot, found.seq, found.node, found.values) == ("0123456789abcdef", 2, "n1", 5)
    assert (gpu.job_id, gpu.device, gpu.model, gpu.metrics) == (
        7, "gpu:0", "NVIDIA A100", ("gpu_power_w", "gpu_utilisation_percent"),
    )  # fmt: skip
    assert gpu.values[1].tolist() == [99.5, 0.0]
    assert math.isnan(gpu.values[0][1])
    assert job.times_s.tolist() == [1.78e9]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("v", 2), ("v", True), ("boot", "0123"), ("boot", "G" * 16), ("boot", None), ("seq", 0), ("seq", 1.5),
        ("seq", True), ("seq", 2**60), ("sent_s", -1), ("sent_s", "1"), ("sent_s", 1e30), ("mono_s", None),
        ("node", ""), ("node", "a/b"), ("node", "-x"), ("node", "n1\n"), ("node", "x" * 65), ("blocks", {}),
        ("blocks", [[]]), ("blocks.0.job", 0), ("blocks.0.job", -1), ("blocks.0.job", 1.0), ("blocks.0.job", 2**41),
        ("blocks.0.device", "gpu:-1"), ("blocks.0.device", "gpu:0:1:2"), ("blocks.0.device", "gpu:0\n"),
        ("blocks.0.device", "fs:../x"), ("blocks.0.device", "fs:a b"), ("blocks.0.device", "fs:" + "x" * 65),
        ("blocks.0.device", "gpu:٣"), ("blocks.0.device", "cpu"), ("blocks.0.device", None), ("blocks.0.model", "a\nb"),
        ("blocks.0.model", "\x1b[31m"), ("blocks.0.model", "x" * 81), ("blocks.0.model", "\u202e"),
        ("blocks.0.model", 5), ("blocks.0.t", []), ("blocks.0.t", [2, 1]), ("blocks.0.t", [1, 1]),
        ("blocks.0.t", [1, None]), ("blocks.0.t", [1, "2"]), ("blocks.0.t", [-1, 2]), ("blocks.0.t", [1, 1e13]),
        ("blocks.0.t", list(range(1001))), ("blocks.0.t", [1, 2, 3]), ("blocks.0.m", {}), ("blocks.0.m", []),
        ("blocks.0.m", {"cpu_cores": [1, 2]}), ("blocks.0.m", {"up{x='": [1, 2]}),
        ("blocks.0.m", {"__proto__": [1, 2]}),
        ("blocks.0.m.gpu_power_w", [1]), ("blocks.0.m.gpu_power_w", [1, -1]), ("blocks.0.m.gpu_power_w", [1, 2e18]),
        ("blocks.0.m.gpu_power_w", [1, True]), ("blocks.0.m.gpu_power_w", [1, "2"]),
        ("blocks.0.m.gpu_power_w", [1, [2]]), ("blocks.0.m.gpu_power_w", [1, 10**400]), ("blocks.0.m.gpu_power_w", 1),
        ("extra", 1), ("blocks.0.extra", 1),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(path: str, value: Any) -> None:
    with pytest.raises(BadBatch):
        read(changed(path, value))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" * 5000])
def test_numbers_that_are_none_are_refused(number: str) -> None:
    with pytest.raises(BadBatch):
        read(sent(json.dumps(GOOD).replace("0.25", number)))
    with pytest.raises(BadBatch):
        read(sent(json.dumps(GOOD).replace("5.5", number)))


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"\x78\x9c", sent("")[:-3], sent("{}") + b"x", sent("[" * 100_000), sent(b"\xff\xfe"), sent("null")],
)
def test_bytes_that_are_no_batch_are_refused(body: bytes) -> None:
    with pytest.raises(BadBatch):
        read(body)


def test_size_is_bounded_before_and_after_inflating() -> None:
    with pytest.raises(TooLarge):
        read(b"x" * ((1 << 20) + 1))
    with pytest.raises(TooLarge):
        read(sent(b" " * (MOST_BYTES + 1)))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
paths = st.sampled_from(
    ["v", "boot", "seq", "sent_s", "mono_s", "node", "blocks", "blocks.0", "blocks.0.job", "blocks.0.device",
     "blocks.0.model", "blocks.0.t", "blocks.0.t.0", "blocks.0.m", "blocks.0.m.gpu_power_w", "blocks.0.m.gpu_power_w.0"]
)  # fmt: skip


@given(paths, json_values)
@settings(max_examples=400, deadline=None)
def test_whatever_stands_anywhere_what_is_read_makes_sense(path: str, value: Any) -> None:
    try:
        found = read(changed(path, value))
    except BadBatch:
        return
    for block in found.blocks:
        assert block.job_id >= 1
        assert block.model.isprintable()
        assert (np.diff(block.times_s) > 0).all()
        assert block.values.shape == (len(block.metrics), len(block.times_s))
        known = block.values[~np.isnan(block.values)]
        assert ((known >= 0) & (known <= np.float32(HIGHEST))).all()
        assert all(BY_NAME[name].kind == (block.device.partition(":")[0] or "job") for name in block.metrics)


@given(st.binary(max_size=400))
@settings(max_examples=200, deadline=None)
def test_any_bytes_at_all(data: bytes) -> None:
    for body in (data, sent(data)):
        with pytest.raises(BadBatch):
            read(body)


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_what_an_agent_builds_is_read_as_it_was(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(DEVICES)))
    names = [metric.name for metric in METRICS if metric.kind == kind]
    rows = [
        Row(7, DEVICES[kind], "", 1.78e9 + at, data.draw(st.dictionaries(
            st.sampled_from(names), st.floats(0, 2.0**59, width=32), min_size=1)))
        for at in range(data.draw(st.integers(1, 5)))
    ]  # fmt: skip
    found = read(agents.encode(agents.blocks(rows), boot="a" * 16, seq=1, node="n1", sent_s=1.78e9, mono_s=1.0))
    (block,) = found.blocks
    for at, row in enumerate(rows):
        for name, column in zip(block.metrics, block.values[:, at].tolist(), strict=True):
            assert column == row.values[name] if name in row.values else math.isnan(column)


@pytest.mark.parametrize("one", ["{},", "[],"])
def test_more_objects_than_a_batch_can_have_are_not_even_parsed(one: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.telemetry.intake.wire.json.loads", None)
    with pytest.raises(BadBatch, match="more objects or lists"):
        read(sent("[" + one * 600_000 + "0]"))
