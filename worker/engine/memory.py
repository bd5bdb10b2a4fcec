"""The gate before a start: is there memory for the model, and if not, who says so clearly."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import psutil

from app.core.engines import ModelSpec
from worker import gpu
from worker.engine.errors import ShortOfMemory

# A stopped engine's memory comes back within seconds, a GPU's a little later.
WAIT_SECONDS = 30.0
# What vLLM's processes hold besides weights and cache (measured: 1.0 GB on a CPU).
OVERHEAD_BYTES = 1_200_000_000

_GIB = 2**30
_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.gguf")
_UNITS = {"k": 1000, "m": 1000**2, "g": 1000**3, "K": 2**10, "M": 2**20, "G": 2**30}


def gpus() -> list[tuple[int, int]]:
    """(free, total) bytes of each GPU the engine would use; none without NVIDIA's library."""
    library = gpu.find_library()
    if library is None:
        return []
    try:
        memories = [library.nvmlDeviceGetMemoryInfo(device) for device in gpu.devices(library)]
    except library.NVMLError:
        return []
    return [(int(memory.free), int(memory.total)) for memory in memories]


def available_cpu_bytes() -> int:
    """Memory a new process could take: the machine's, or what our control group still allows."""
    available = int(psutil.virtual_memory().available)
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return available
    return min(available, limit - used + int(statistics.get("inactive_file", 0)))


def needed_bytes(spec: ModelSpec, on_cpu: bool, total: int) -> int:
    """Memory the engine will take, by its weights' files and its flags; `total` is the device's."""
    if spec.memory_bytes is not None:
        return spec.memory_bytes
    cache = _cache_bytes(spec)
    if cache is None and not on_cpu:
        return int(total * float(spec.flag("--gpu-memory-utilization") or 0.92))
    return weights_bytes(spec.folder) + (cache or 0) + OVERHEAD_BYTES


def weights_bytes(folder: Path | None) -> int:
    """Size of the weights' files; 0 for a model that is not here yet."""
    for pattern in _WEIGHTS:
        sizes = [path.stat().st_size for path in folder.glob(pattern)] if folder else []
        if sizes:
            return sum(sizes)
    return 0


def shortage(spec: ModelSpec, on_cpu: bool) -> str | None:
    """What a model lacks now, in one sentence; None: its memory is free."""
    free, total = _free(spec, on_cpu)
    needed = needed_bytes(spec, on_cpu, total)
    if needed <= free:
        return None
    return (
        f"The model {spec.name} needs {needed / 1e9:.1f} GB of memory, "
        f"{max(0, free) / 1e9:.1f} GB are free."
    )


async def wait_for_memory(
    spec: ModelSpec, on_cpu: bool, wait_seconds: float = WAIT_SECONDS
) -> None:
    """Return once the model's memory is free; ShortOfMemory when it does not come free in time."""
    deadline = time.monotonic() + wait_seconds
    while (lack := shortage(spec, on_cpu)) is not None:
        if time.monotonic() >= deadline:
            raise ShortOfMemory(lack)
        await asyncio.sleep(1)


def _free(spec: ModelSpec, on_cpu: bool) -> tuple[int, int]:
    if on_cpu:
        return available_cpu_bytes(), int(psutil.virtual_memory().total)
    devices = gpus()
    count = spec.flag("--tensor-parallel-size") or "1"
    return min(devices[: int(count) if count.isdecimal() else 1] or [(0, 0)])


def _cache_bytes(spec: ModelSpec) -> int | None:
    """The KV cache's size where the flags or the environment say it."""
    space = spec.env.get("VLLM_CPU_KVCACHE_SPACE", "")
    if space.isdecimal():
        return int(space) * _GIB
    flag = spec.flag("--kv-cache-memory-bytes")
    if not flag:
        return None
    number, unit = (flag[:-1], flag[-1]) if flag[-1] in _UNITS else (flag, "")
    try:
        return int(float(number) * _UNITS.get(unit, 1))
    except ValueError:
        return None
