"""What a worker writes down of its machine: the mean of its heartbeats, every so many seconds."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable

import psutil

from app.core.samples import PERIOD_SECONDS, Figures
from app.core.workers import Pulse

# As the heartbeat names them.
_TOLD = {
    "gpu_utilization": "gpu_utilization",
    "gpu_memory_percent": "gpu_memory_percent",
    "cpu_percent": "host_cpu_percent",
    "memory_percent": "host_memory_percent",
}


class Sampler:
    """Takes in every heartbeat; says what to write down when it is time, or the model is another."""

    def __init__(
        self, seconds: float = PERIOD_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._clock = clock
        self._due_at = clock()
        self._model: str | None = None
        self._told: dict[str, list[float]] = {name: [] for name in _TOLD}
        self._family = Family()

    def take(self, pulse: Pulse) -> Figures | None:
        """The means since the last that was written; None while it is too early."""
        for name, figure in _TOLD.items():
            value = pulse.metrics.get(figure)
            if isinstance(value, int | float):
                self._told[name].append(float(value))
        now = self._clock()
        if now < self._due_at and pulse.current_model == self._model:
            return None
        self._due_at, self._model = now + self._seconds, pulse.current_model
        means = {name: sum(each) / len(each) for name, each in self._told.items() if each}
        self._told = {name: [] for name in _TOLD}
        return Figures(**means, **self._family.measure())


class Family:
    """The worker and its engine, whose processes are below it in a session of their own."""

    def __init__(self) -> None:
        self._own = psutil.Process()
        self._own.cpu_percent()  # counts from here
        self._engine: dict[int, psutil.Process] = {}

    def measure(self) -> dict[str, float]:
        """CPU since the last time, in percent of the machine, and memory; nothing of no engine."""
        cores = psutil.cpu_count() or 1
        found = {
            "worker_cpu_percent": self._own.cpu_percent() / cores,
            "worker_memory_bytes": float(self._own.memory_info().rss),
        }
        before, self._engine = self._engine, {}
        for process in engine_processes(self._own):
            with contextlib.suppress(psutil.Error):
                # The same object is asked again: it knows since when it counts.
                known = before.get(process.pid)
                if known == process:
                    found["engine_cpu_percent"] = (
                        found.get("engine_cpu_percent", 0.0) + known.cpu_percent() / cores
                    )
                else:
                    process.cpu_percent()
                found["engine_memory_bytes"] = (
                    found.get("engine_memory_bytes", 0.0) + process.memory_info().rss
                )
                self._engine[process.pid] = known if known == process else process
        return found


def engine_processes(own: psutil.Process) -> list[psutil.Process]:
    """Those below a worker that are in a session of their own."""
    session, found = os.getsid(0), []
    with contextlib.suppress(psutil.Error):
        for child in own.children(recursive=True):
            with contextlib.suppress(OSError):
                if os.getsid(child.pid) != session:
                    found.append(child)
    return found
