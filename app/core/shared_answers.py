"""Answers that all who were told of the same change share: the first to ask has it read, once.

Open pages are told at the same moment that something changed (app.core.changes) and all ask at once.
An answer that was begun after that moment has all that they were told of, so it serves them all; what
changes later they are told of again.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Answer = TypeVar("Answer")

# Who was told longer ago may be told again in a moment: it gets what is new.
LONGEST_SECONDS = 2.0
# Who waits for another's answer does so no longer than this: that one may be stuck.
PATIENCE_SECONDS = 1.0
_SIZE = 256


class _Place(Generic[Answer]):
    """Of one key: what was read last, and since when (time.monotonic)."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.kept: tuple[float, Answer] | None = None


class SharedAnswers(Generic[Answer]):
    """The answers of one kind; safe to use from several threads. A key says all that they depend on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places: dict[object, _Place[Answer]] = {}

    def get(self, key: object, told_at: float | None, compute: Callable[[], Answer]) -> Answer:
        """One that was begun since `told_at` (time.monotonic of this machine), or a new one.

        With None always a new one. What `compute` raises goes to its caller, and is not kept.
        """
        place = self._place(key)
        is_mine = place.lock.acquire(timeout=PATIENCE_SECONDS)
        try:
            began = time.monotonic()
            since = math.inf if told_at is None else max(told_at, began - LONGEST_SECONDS)
            kept = place.kept
            if kept is not None and kept[0] >= since:
                return kept[1]
            answer = compute()
            place.kept = (began, answer)
            return answer
        finally:
            if is_mine:
                place.lock.release()

    def _place(self, key: object) -> _Place[Answer]:
        with self._lock:
            if key not in self._places:
                if len(self._places) >= _SIZE:
                    self._places.clear()
                self._places[key] = _Place()
            return self._places[key]
