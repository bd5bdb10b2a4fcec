"""How fast it goes right now: what was counted in the last seconds."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable


class Meter:
    """Counts from any thread; `rate` is per second over the last `seconds`."""

    def __init__(self, seconds: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: deque[tuple[float, int]] = deque()

    def add(self, count: int) -> None:
        """Count something that has happened now."""
        with self._lock:
            self._counts.append((self._clock(), count))
            self._forget()

    def rate(self) -> float:
        """Per second, over the last seconds."""
        with self._lock:
            self._forget()
            return sum(count for _, count in self._counts) / self._seconds

    def _forget(self) -> None:
        while self._counts and self._clock() - self._counts[0][0] > self._seconds:
            self._counts.popleft()
