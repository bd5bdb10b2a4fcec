"""How the GPU does, by NVIDIA's library: what a heartbeat tells of it."""

from __future__ import annotations

import os
from typing import Any


def find_library() -> Any:
    """NVIDIA's library, ready to be asked; None where there is none, or no GPU."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


def devices(library: Any) -> list[Any]:
    """The GPUs that the engine would use. Raises the library's NVMLError."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    numbers = [int(word) for word in chosen.split(",") if word.strip().isdecimal()]
    return [
        library.nvmlDeviceGetHandleByIndex(number)
        for number in numbers or range(library.nvmlDeviceGetCount())
    ]


def figures(library: Any) -> dict[str, float]:
    """Of several GPUs the one that is worst off in each; what one does not tell is left out.

    `gpu_memory_percent` is of memory in use, `gpu_utilization` a percentage of time, and
    `gpu_temperature` in degrees Celsius.
    """
    if library is None:
        return {}

    def memory(device: Any) -> float:
        info = library.nvmlDeviceGetMemoryInfo(device)
        return round(100 * float(info.used) / float(info.total), 1)

    def utilization(device: Any) -> float:
        return float(library.nvmlDeviceGetUtilizationRates(device).gpu)

    def temperature(device: Any) -> float:
        return float(library.nvmlDeviceGetTemperature(device, library.NVML_TEMPERATURE_GPU))

    found: dict[str, float] = {}
    try:
        chosen = devices(library)
    except library.NVMLError:
        return {}
    for name, read in (
        ("gpu_memory_percent", memory),
        ("gpu_utilization", utilization),
        ("gpu_temperature", temperature),
    ):
        try:
            found[name] = max(read(device) for device in chosen)
        except (library.NVMLError, ValueError):
            continue  # a part of a GPU has no figure of its own, say; or there is no GPU
    return found
