"""Places for open streams: each holds a thread, so there are only so many."""

from __future__ import annotations

import threading
from collections import Counter

from app.core.errors import LimitReached


class Places:
    """How many streams are open in this process, in all and by user."""

    def __init__(self, limit: int, user_limit: int | None = None) -> None:
        self._limit = limit
        self._user_limit = limit if user_limit is None else user_limit
        self._lock = threading.Lock()
        self._taken: Counter[int | None] = Counter()

    def take(self, user_id: int | None) -> None:
        """Take a place. Raises Full, or LimitReached when this user has too many."""
        with self._lock:
            if self._taken.total() >= self._limit:
                raise Full("All places for live streams are taken; try again soon.")
            if user_id is not None and self._taken[user_id] >= self._user_limit:
                raise LimitReached(
                    f"You have {self._user_limit} live streams open, which is the limit.",
                    code="too_many_streams",
                    retry_after_seconds=10,
                )
            self._taken[user_id] += 1

    def give_back(self, user_id: int | None) -> None:
        """The stream has ended."""
        with self._lock:
            self._taken[user_id] -= 1
            if self._taken[user_id] <= 0:
                del self._taken[user_id]


class Full(LimitReached):
    """Every place for a live stream is taken."""

    http_status = 503

    def __init__(self, message: str) -> None:
        super().__init__(message, retry_after_seconds=30)
