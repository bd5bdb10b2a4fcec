"""The GPU's figures in a heartbeat, by a stand-in for NVIDIA's library."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from worker import gpu


class NVMLError(Exception):
    """As the library's own."""


class Library(ModuleType):
    """GPUs as (used bytes, total bytes, utilization, temperature); None: it does not tell."""

    NVMLError = NVMLError
    NVML_TEMPERATURE_GPU = 0

    def __init__(self, *gpus: tuple[int, int, int | None, int]) -> None:
        super().__init__("pynvml")
        self.gpus = gpus
        self.is_present = True

    def nvmlInit(self) -> None:  # noqa: N802 - the library's name
        if not self.is_present:
            raise NVMLError

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, number: int) -> Any:  # noqa: N802
        if number >= len(self.gpus):
            raise NVMLError
        return self.gpus[number]

    def nvmlDeviceGetMemoryInfo(self, device: Any) -> Any:  # noqa: N802
        return SimpleNamespace(used=device[0], total=device[1], free=device[1] - device[0])

    def nvmlDeviceGetUtilizationRates(self, device: Any) -> Any:  # noqa: N802
        if device[2] is None:
            raise NVMLError
        return SimpleNamespace(gpu=device[2])

    def nvmlDeviceGetTemperature(self, device: Any, sensor: int) -> int:  # noqa: N802
        return int(device[3])


@pytest.fixture(autouse=True)
def _all_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_the_figures_are_those_of_the_gpu_that_is_worst_off() -> None:
    library = Library((20, 80, 99, 61), (60, 80, 5, 70))
    assert gpu.figures(library) == {
        "gpu_memory_percent": 75.0,
        "gpu_utilization": 99.0,
        "gpu_temperature": 70.0,
    }


def test_only_the_gpus_that_the_engine_may_use_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert gpu.figures(Library((20, 80, 9, 61), (60, 80, 50, 70)))["gpu_temperature"] == 61
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert gpu.figures(Library((20, 80, 9, 61))) == {}


def test_what_a_gpu_does_not_tell_is_left_out() -> None:
    assert gpu.figures(Library((20, 80, None, 61))) == {
        "gpu_memory_percent": 25.0,
        "gpu_temperature": 61.0,
    }


def test_a_machine_without_a_gpu_has_no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpu.figures(None) == {}
    assert gpu.figures(Library()) == {}
    library = Library((20, 80, 9, 61))
    monkeypatch.setitem(sys.modules, "pynvml", library)
    assert gpu.find_library() is library
    library.is_present = False
    assert gpu.find_library() is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu.find_library() is None
