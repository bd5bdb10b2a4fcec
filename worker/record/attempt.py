"""One attempt at a job, as the code that runs in it sees it."""

from __future__ import annotations

import contextvars
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from .milestones import CHARACTERS, Milestones
from .usage import memory_bytes

Line = dict[str, Any]

# Log lines of one attempt: so many at once, so many a second from then on, so many in all.
BURST = 2000
LINES_PER_SECOND = 500
MOST_LINES = 100_000
_REFILL_SECONDS = 0.1

_MESSAGE_CHARACTERS = 1000


class Attempt:
    """One try of a job. `gpu_seconds` may be set by its task; the rest is for reading."""

    def __init__(
        self,
        job_id: int,
        number: int,
        lines: deque[Line],
        flush: Callable[[], Awaitable[None]],
    ) -> None:
        self.job_id = job_id
        self.number = number
        self.token: UUID | None = None
        # Writes its lines and its progress now.
        self.flush = flush
        self.gpu_seconds: float | None = None
        self.peak_memory_bytes = memory_bytes()
        self._cpu_at_start = time.process_time()
        # What was said of its progress, and is not written yet.
        self._step: dict[str, Any] = {}
        self._step_at = 0.0
        self.milestones = Milestones()
        # Its log lines. Threads add to them, so all that is done with them is atomic.
        self._lines = lines
        self._tokens = float(BURST)
        self._tokens_at = 0.0
        self._lines_left = MOST_LINES
        self.closed_until = 0.0
        self.dropped = 0

    def progress(self, done: int, total: int | None = None, message: str | None = None) -> None:
        """Say how far the job is: `done` of `total` items, and what it does now.

        It is cheap and may be called for each item: only the latest is written, once a second.
        """
        step = {**self._step, "done": int(done)}
        if total is not None:
            step["total"] = int(total)
            if total > 0:
                step["percent"] = max(0, min(100, int(100 * done / total)))
        if message is not None:
            message = step["message"] = str(message)[:_MESSAGE_CHARACTERS]
        self._step = step
        self.milestones.note(
            None if message is None else message[:CHARACTERS], step.get("percent"), step["done"]
        )

    @property
    def has_step(self) -> bool:
        """Whether some of its progress is not written yet."""
        return bool(self._step) or self.milestones.is_new

    def take_step(self) -> dict[str, Any]:
        """What is to be written of its progress."""
        step, self._step = self._step, {}
        self._step_at = time.monotonic()
        return {**step, "milestones": self.milestones.take()} if self.milestones.is_new else step

    def take_step_if_due(self, seconds: float) -> dict[str, Any]:
        """The same, but nothing when the last time was less than so many seconds ago."""
        if time.monotonic() - self._step_at < seconds:
            return {}
        if self.milestones.is_due:
            return self.take_step()
        step, self._step = self._step, {}
        if step:
            self._step_at = time.monotonic()
        return step

    def has_room_at(self, created: float) -> bool:
        """Whether a line of this moment (seconds since the epoch) is within its rate."""
        tokens = min(
            float(BURST), self._tokens + max(0.0, created - self._tokens_at) * LINES_PER_SECOND
        )
        self._tokens_at = created
        if tokens < 1 or self._lines_left <= 0:
            self._tokens = tokens
            # Until then nothing is looked at: to refuse a line must cost nearly nothing.
            self.closed_until = created + _REFILL_SECONDS
            return False
        self._tokens = tokens - 1
        self._lines_left -= 1
        return True

    def log(
        self,
        level: str,
        message: str,
        context: dict[str, Any] | None = None,
        *,
        logger: str | None = None,
        at: float | None = None,
        batch: int | None = None,
    ) -> None:
        """Add a line to its log, past the rate. `at` is in seconds since the epoch."""
        self._lines.append(
            {
                "job": self.job_id,
                "number": self.number,
                "at": time.time() if at is None else at,
                "level": level,
                "logger": logger,
                "message": message,
                "context": context or None,
                "batch": batch,
            }
        )

    def say_dropped(self) -> None:
        """Say in its log how many lines were not kept since it was last said."""
        dropped, self.dropped = self.dropped, 0
        if dropped:
            self.log(
                "warning",
                f"{dropped} log lines were dropped: "
                f"{LINES_PER_SECOND} a second and {MOST_LINES} an attempt are kept",
            )

    def sample(self, memory: int) -> None:
        """The process holds so much memory now."""
        self.peak_memory_bytes = max(self.peak_memory_bytes, memory)

    def usage(self) -> dict[str, Any]:
        """What it used until now; processor time is that of its whole process."""
        self.sample(memory_bytes())
        return {
            "cpu_seconds": round(time.process_time() - self._cpu_at_start, 6),
            "peak_memory_bytes": self.peak_memory_bytes or None,
            "gpu_seconds": self.gpu_seconds,
        }


_current: contextvars.ContextVar[Attempt | None] = contextvars.ContextVar(
    "stoker_attempt", default=None
)
attempt_here = _current


def current() -> Attempt | None:
    """The attempt that this code runs in; None outside of a recorded job."""
    return _current.get()


def progress(done: int, total: int | None = None, message: str | None = None) -> None:
    """Say how far the current job is; outside of a recorded job it does nothing."""
    attempt = _current.get()
    if attempt is not None:
        attempt.progress(done, total, message)
