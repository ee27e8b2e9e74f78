"""GPUs as the sampler reads them, from the pretend NVML library of the harness."""

from __future__ import annotations

import _ctypes
import contextlib
import ctypes
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backend.agent.sampler import Gpu, Missing
from backend.agent.sampler.gpm import METRICS
from backend.agent.sampler.nvml import Nvml
from tests.harness import nvml

State = Callable[..., None]
GPM_PAUSE_S = 0.12


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nvml.build(tmp_path_factory.mktemp("nvml")) / "libnvidia-ml.so.1"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    """Writes what the GPUs do from now on, a line each."""
    monkeypatch.setenv("NVML_SHIM_STATE", str(tmp_path / "state"))

    def write(*lines: str) -> None:
        (tmp_path / "state").write_text("".join(f"{line}\n" for line in lines))

    return write


@pytest.fixture
def reader(library: Path) -> Iterator[Nvml]:
    """Reads the pretend library, which goes again afterwards: other tests have no GPU."""
    found = Nvml(str(library))
    yield found
    found.close()
    with contextlib.suppress(OSError):
        while loaded := ctypes.CDLL(str(library), mode=os.RTLD_NOLOAD)._handle:
            _ctypes.dlclose(loaded)
            _ctypes.dlclose(loaded)


def gpus(reader: Nvml) -> tuple[list[Gpu], Missing]:
    missing = Missing()
    return reader.read(missing), missing


def test_each_gpu_is_a_device_of_its_own(reader: Nvml, state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVML_SHIM_GPUS", "3")
    state("0 utilisation 11", "1 utilisation 22", "2 utilisation 33")
    found, _ = gpus(reader)
    assert [(gpu.index, gpu.utilisation_percent) for gpu in found] == [("0", 11), ("1", 22), ("2", 33)]
    assert len({gpu.uuid for gpu in found}) == 3


def test_units_are_watts_bytes_and_megahertz(reader: Nvml, state: State) -> None:
    state(
        "0 power 312500", "0 power_limit 400000", "0 temperature 61", "0 sm_clock 1980", "0 memory_clock 2619",
        "0 memory_used 1000", "0 memory_reserved 24", "0 memory_total 4096", "0 pcie_rx 3", "0 pcie_tx 5",
    )  # fmt: skip
    gpu = gpus(reader)[0][0]
    assert (gpu.power_w, gpu.power_limit_w, gpu.temperature_c) == (312.5, 400.0, 61)
    assert (gpu.sm_clock_mhz, gpu.memory_clock_mhz) == (1980, 2619)
    assert (gpu.memory_used_bytes, gpu.memory_reserved_bytes, gpu.memory_total_bytes) == (1000, 24, 4096)
    assert (gpu.pcie_receive_bytes_per_s, gpu.pcie_send_bytes_per_s) == (3 * 1024, 5 * 1024)


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        ("0", ()),
        ("0x1", ("idle",)),
        ("0x44", ("power limit", "too warm, slowed by the hardware")),
        ("0x8000", ("unknown reason 0x8000",)),
    ],
)
def test_throttle_reasons_are_said_in_words(reader: Nvml, state: State, bits: str, words: tuple[str, ...]) -> None:
    state(f"0 throttle {bits}")
    assert gpus(reader)[0][0].throttle_reasons == words


def test_processes_come_with_their_memory(reader: Nvml, state: State) -> None:
    state("0 process 4711:2000", "0 process 12:1000", "1 process 99")
    first, second = gpus(reader)[0]
    assert [(process.pid, process.memory_bytes) for process in first.processes or ()] == [(12, 1000), (4711, 2000)]
    assert [(process.pid, process.memory_bytes) for process in second.processes or ()] == [(99, None)]


def test_what_a_device_does_not_tell_is_missing_with_the_reason(reader: Nvml, state: State) -> None:
    state("0 without GetPowerUsage", "0 without GetUtilizationRates")
    (gpu, other), missing = gpus(reader)
    assert gpu.power_w is None and missing["gpu.0.power_w"] == "not supported by this device"
    assert missing["gpu.0.memory_utilisation_percent"] == missing["gpu.0.utilisation_percent"]
    assert gpu.temperature_c == 40 and other.power_w == 60.0


@pytest.mark.parametrize("lines", [[], ["* gpm 1"], ["0 mig 2", "* gpm 1"], ["* without GetMemoryInfo_v2"]])
def test_every_missing_number_has_its_reason(reader: Nvml, state: State, lines: list[str]) -> None:
    state(*lines)
    for _ in range(2):
        found, missing = gpus(reader)
        time.sleep(GPM_PAUSE_S)
        for gpu in found:
            absent = {name for name, value in gpu._asdict().items() if value is None} - {"parent"}
            assert absent == {path.split(".")[2] for path in missing if path.startswith(f"gpu.{gpu.index}.")}


def test_an_old_driver_counts_its_reserve_as_used(reader: Nvml, state: State) -> None:
    state("0 memory_used 1000", "0 memory_reserved 24", "0 without GetMemoryInfo_v2")
    gpu = gpus(reader)[0][0]
    assert (gpu.memory_used_bytes, gpu.memory_reserved_bytes) == (1024, None)


def test_nvlink_counters_become_rates(reader: Nvml, state: State) -> None:
    state("0 nvlink_rx 1000", "0 nvlink_tx 5000")
    first, missing = gpus(reader)
    assert first[0].nvlink_receive_bytes_per_s is None
    assert missing["gpu.0.nvlink_receive_bytes_per_s"] == "a rate needs a second sample"
    time.sleep(0.05)
    state("0 nvlink_rx 2000", "0 nvlink_tx 3000")
    found, missing = gpus(reader)
    rate = found[0].nvlink_receive_bytes_per_s
    assert rate is not None and 1000 * 1024 / 1.0 < rate <= 1000 * 1024 / 0.05
    assert missing["gpu.0.nvlink_send_bytes_per_s"] == "its counter has started again"


def test_activity_is_the_mean_between_two_samples(reader: Nvml, state: State) -> None:
    state("* gpm 1", *(f"0 gpm_{number} 0" for number in METRICS))
    found, missing = gpus(reader)
    assert found[0].busy_percent is None and missing["gpu.0.busy_percent"] == "a rate needs a second sample"
    time.sleep(GPM_PAUSE_S)
    state("* gpm 1", *(f"0 gpm_{number} {number}" for number in METRICS))
    gpu = gpus(reader)[0][0]
    assert (gpu.busy_percent, gpu.sm_percent, gpu.tensor_percent, gpu.memory_bandwidth_percent) == (1, 2, 5, 10)
    assert (gpu.pcie_send_bytes_per_s, gpu.pcie_receive_bytes_per_s) == (20 << 20, 21 << 20)
    assert (gpu.nvlink_receive_bytes_per_s, gpu.nvlink_send_bytes_per_s) == (60 << 20, 61 << 20)


def test_mig_instances_follow_their_gpu_as_devices(reader: Nvml, state: State) -> None:
    state("1 mig 2", "1:0 memory_used 100", "1:1 memory_used 200", "1:1 process 7:150")
    found, missing = gpus(reader)
    assert [gpu.index for gpu in found] == ["0", "1", "1:0", "1:1"]
    assert [gpu.parent for gpu in found] == [None, None, found[1].uuid, found[1].uuid]
    assert [gpu.memory_used_bytes for gpu in found[2:]] == [100, 200]
    assert found[3].processes and found[3].processes[0].pid == 7
    assert missing["gpu.1:0.power_w"] == "belongs to the whole GPU 1" and found[1].power_w == 60.0


def test_mig_instances_have_activity_of_their_own(reader: Nvml, state: State) -> None:
    for at in (0, 1):
        state("* gpm 1", "0 mig 2", f"0:0 gpm_1 {at * 30}", f"0:1 gpm_1 {at * 80}")
        found, _ = gpus(reader)
        time.sleep(GPM_PAUSE_S)
    assert [gpu.busy_percent for gpu in found if gpu.parent] == [30, 80]


def test_an_instance_that_is_taken_apart_leaves_the_list(reader: Nvml, state: State) -> None:
    state("* gpm 1", "0 mig 2")
    assert len(gpus(reader)[0]) == 4
    state("* gpm 1", "0 mig 1")
    assert [gpu.index for gpu in gpus(reader)[0]] == ["0", "0:0", "1"]


def test_a_gpu_that_falls_off_the_bus_stays_in_the_list(reader: Nvml, state: State) -> None:
    state("1 utilisation 50")
    before, _ = gpus(reader)
    state("0 lost 1", "1 utilisation 60")
    found, missing = gpus(reader)
    assert [gpu.uuid for gpu in found] == [gpu.uuid for gpu in before]
    assert found[0].utilisation_percent is None and found[1].utilisation_percent == 60
    assert missing["gpu.0"] == "the GPU has fallen off the bus"
    assert not [path for path in missing if path.startswith("gpu.0.")]


def test_a_gpu_lost_before_the_first_look_is_named(reader: Nvml, state: State) -> None:
    state("0 lost 1")
    found, missing = gpus(reader)
    assert [gpu.index for gpu in found] == ["1"] and missing["gpu.0"] == "the GPU has fallen off the bus"


def test_without_the_driver_there_is_no_gpu_and_it_says_why() -> None:
    missing = Missing()
    assert Nvml("libno-such-driver.so.1").read(missing) == []
    assert missing == {"gpus": "no NVIDIA driver library (libnvidia-ml.so.1) is here"}
