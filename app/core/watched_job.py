"""A job that somebody watches, as the process knows it: one copy for all its viewers."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from app.core import status
from app.core.errors import NotFound
from app.core.sql import statement

LEVELS = ("debug", "info", "warning", "error", "critical")

# A worker writes a job's last lines soon after it has ended.
LAST_LINES_SECONDS = 2.0

_MOST_ID = 2**63 - 1


@dataclass(frozen=True)
class JobState:
    """Where a job stands; `status` is our word. `read_at` is the database's clock."""

    id: int
    created_at: datetime
    status: str
    progress: int
    message: str | None
    started_at: datetime | None
    ended_at: datetime | None
    error_message: str | None
    result: Any
    updated_at: datetime = field(compare=False)
    read_at: datetime = field(compare=False)

    @property
    def is_final(self) -> bool:
        """Whether it has ended."""
        return self.status in status.FINAL

    @property
    def has_last_lines(self) -> bool:
        """Whether it ended so long ago that no more log lines come."""
        if self.ended_at is None:
            return self.is_final
        return (self.read_at - self.ended_at).total_seconds() >= LAST_LINES_SECONDS


@dataclass
class Line:
    """A log line. `sent` is what streams send of it, made once for all of a job's viewers."""

    id: int
    job_id: int
    at: datetime
    level: str
    message: str
    context: dict[str, Any] | None
    attempt_number: int | None
    sent: bytes | None = None


class Look(NamedTuple):
    """What a viewer finds: new lines, and up to which id it has seen the log with them.

    `is_behind`: the lines up to `until` are not at hand any more and are to be read from the
    database. `is_complete`: there are none after `until`, for ever.
    """

    lines: list[Line]
    until: int
    is_behind: bool
    is_complete: bool


class WatchedJob:
    """What the reader found last. Viewers wait here; the reader wakes them when it changed."""

    def __init__(self, state: JobState) -> None:
        self.id = state.id
        self.created_at = state.created_at
        self.viewers = 0
        self.log_viewers = 0
        self.is_stale = True  # something may have changed since it was read
        self._changed = threading.Condition()
        self._version = 0
        self._state: JobState | None = state
        self._lines: deque[Line] = deque()
        self._size = 0
        # Of the log: the lines in (floor, read_to] are at hand.
        self._floor = 0
        self.read_to: int | None = None
        self._is_complete = False

    def wait(self, version: int, seconds: float) -> int:
        """The present version, once it is another than `version` or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._version != version, seconds)
            return self._version

    def state(self) -> JobState | None:
        """Where the job stands; None when its record is gone."""
        return self._state

    def look(self, after: int) -> Look:
        """The settled lines after an id. Nothing is settled before the reader's first round."""
        with self._changed:
            if self.read_to is None:
                return Look([], after, is_behind=False, is_complete=self._state is None)
            is_complete = self._is_complete or self._state is None
            if after >= self.read_to:
                return Look([], after, is_behind=False, is_complete=is_complete)
            if after < self._floor:
                return Look([], self.read_to, is_behind=True, is_complete=is_complete)
            found = []
            for line in reversed(self._lines):
                if line.id <= after:
                    break
                found.append(line)
            return Look(found[::-1], self.read_to, is_behind=False, is_complete=is_complete)

    def found_state(self, state: JobState | None) -> None:
        """The reader read where the job stands."""
        with self._changed:
            if state != self._state:
                self._wake()
            self._state = state

    def found_lines(self, lines: Sequence[Line], read_to: int, most_size: int) -> None:
        """The reader read the job's lines up to an id; of them `most_size` signs stay at hand."""
        with self._changed:
            if self.read_to is None:
                self._floor = self.read_to = read_to
                self._wake()
                return
            new = [line for line in lines if line.id > self.read_to]
            self._lines.extend(new)
            self._size += sum(_size(line) for line in new)
            self.read_to = max(self.read_to, read_to)
            while self._lines and self._size > most_size:
                dropped = self._lines.popleft()
                self._size -= _size(dropped)
                self._floor = dropped.id
            if new:
                self._wake()

    def close_log(self) -> None:
        """What is at hand is the end of the log."""
        with self._changed:
            if not self._is_complete:
                self._is_complete = True
                self._wake()

    def forget_lines(self) -> None:
        """Nobody reads the log any more."""
        with self._changed:
            self._lines.clear()
            self._size, self.read_to, self._is_complete = 0, None, False

    def wake(self) -> None:
        """Have every viewer look up."""
        with self._changed:
            self._wake()

    def _wake(self) -> None:
        self._version += 1
        self._changed.notify_all()


def _size(line: Line) -> int:
    words = (value for value in (line.context or {}).values() if isinstance(value, str))
    return 200 + len(line.message) + sum(len(word) for word in words)


def get_state(session: Session, job_id: str, owner_name: str | None) -> JobState:
    """Where a job stands, if it is `owner_name`'s (None: anybody's). Raises NotFound."""
    if job_id.isascii() and job_id.isdigit() and int(job_id) <= _MOST_ID:
        asked = {"job_id": int(job_id), "owner_name": owner_name}
        row = session.execute(statement("streams", "state"), asked).one_or_none()
        if row is not None:
            return read_state(row)
    raise NotFound(f"There is no job '{job_id[:100]}'.", param="job_id", code="not_found")


def read_state(row: Any) -> JobState:
    """A row of the statements `state` and `states`."""
    found = row._asdict()
    scheduled_at = found.pop("scheduled_at")
    found["status"] = status.shown(row.status, scheduled_at, row.read_at)
    return JobState(**found)


def is_at_least(line: Line, level: str | None) -> bool:
    """Whether a line's level is `level` or graver; a level that we don't know counts as info."""
    return level is None or _gravity(line.level) >= _gravity(level)


def _gravity(level: str) -> int:
    level = level.lower()
    return LEVELS.index(level) if level in LEVELS else LEVELS.index("info")
