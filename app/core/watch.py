"""The watched jobs of this process: one reader fetches what is new of all of them together.

A notification says which job changed; the reader fetches the statuses and log lines of all jobs
that changed in one go, at most four times a second, however many viewers there are.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from sqlalchemy import Connection

from app.core.log_horizon import LogHorizon
from app.core.sql import statement
from app.core.watched_job import JobState, Line, WatchedJob, read_state

_PACE_SECONDS = 0.25
_FALLBACK_SECONDS = 5.0  # what changed without a notification that reached us
_AGAIN_SECONDS = 0.1  # when something is known to be missing
_MOST_LINES = 5000  # of one round
_MOST_SIZE = 32 * 1024**2  # signs that all jobs together keep at hand
_MOST_JOB_SIZE = 1024**2

PAGE_LINES = 1000


class Watch:
    """All jobs that somebody watches. `refresh` is called by the one reader, the rest by viewers."""

    def __init__(self, on_join: Callable[[], None]) -> None:
        self._on_join = on_join
        self._lock = threading.Lock()
        self._jobs: dict[int, WatchedJob] = {}
        self._horizon = LogHorizon()
        self._read_at = 0.0
        self._rest_seconds = 0.0  # reading may not be all that the database does
        self._is_incomplete = False

    def join(self, state: JobState, *, with_log: bool) -> WatchedJob:
        """Watch a job; `state` is what the viewer has just read of it."""
        with self._lock:
            job = self._jobs.get(state.id)
            if job is None:
                job = self._jobs[state.id] = WatchedJob(state)
            job.viewers += 1
            job.log_viewers += with_log
            job.is_stale = True
        self._on_join()
        return job

    def leave(self, job: WatchedJob, *, with_log: bool) -> None:
        """Watch it no more."""
        with self._lock:
            job.viewers -= 1
            job.log_viewers -= with_log
            if job.viewers == 0:
                del self._jobs[job.id]

    def hear(self, job_id: str) -> None:
        """A job may have changed; empty: several."""
        with self._lock:
            if not job_id.isdigit():
                for job in self._jobs.values():
                    job.is_stale = True
            elif (known := self._jobs.get(int(job_id))) is not None:
                known.is_stale = True

    def wake(self) -> None:
        """Have every viewer look up: the process stops."""
        with self._lock:
            jobs = list(self._jobs.values())
        for job in jobs:
            job.wake()

    def forget_horizon(self) -> None:
        """A new connection: it may lead to another server."""
        self._horizon = LogHorizon()
        self.hear("")

    def seconds_until_due(self) -> float | None:
        """How long until the reader should look; None while nobody watches."""
        with self._lock:
            if not self._jobs:
                return None
            is_stale = any(job.is_stale for job in self._jobs.values())
        pace = _FALLBACK_SECONDS
        if self._is_incomplete:
            pace = max(_AGAIN_SECONDS, self._rest_seconds)
        elif is_stale:
            pace = max(_PACE_SECONDS, self._rest_seconds)
        return max(0.0, self._read_at + pace - time.monotonic())

    def refresh(self, connection: Connection) -> None:
        """Fetch what is new; `connection` is in autocommit."""
        now = time.monotonic()
        with self._lock:
            is_fallback = now - self._read_at >= _FALLBACK_SECONDS
            jobs = [job for job in self._jobs.values() if job.is_stale or is_fallback]
            most_size = min(_MOST_JOB_SIZE, _MOST_SIZE // max(1, len(self._jobs)))
            logged = [job for job in jobs if job.log_viewers]
            for job in jobs:
                job.is_stale = False
                if not job.log_viewers and job.read_to is not None:
                    job.forget_lines()
        self._read_at = now
        self._is_incomplete = False
        try:
            if jobs:
                self._read_states(connection, jobs)
            if logged:
                self._read_lines(connection, logged, most_size)
        except BaseException:
            self._want_again(jobs)
            raise
        self._rest_seconds = 3 * (time.monotonic() - now)

    def _read_states(self, connection: Connection, jobs: Sequence[WatchedJob]) -> None:
        asked = {
            "job_ids": [job.id for job in jobs],
            "since": min(job.created_at for job in jobs),
        }
        rows = connection.execute(statement("streams", "states"), asked)
        found = {row.id: read_state(row) for row in rows}
        for job in jobs:
            job.found_state(found.get(job.id))

    def _read_lines(
        self, connection: Connection, jobs: Sequence[WatchedJob], most_size: int
    ) -> None:
        settled = self._horizon.look(connection)
        if settled is None:
            self._want_again(jobs)
            return
        lines: list[Line] = []
        begun = [job.read_to for job in jobs if job.read_to is not None]
        if begun and min(begun) < settled:
            known = [job.id for job in jobs if job.read_to is not None]
            lines = read_lines(connection, known, min(begun), settled, _MOST_LINES)
        is_cut = len(lines) == _MOST_LINES
        read_to = lines[-1].id if is_cut else settled
        by_job: dict[int, list[Line]] = {job.id: [] for job in jobs}
        for line in lines:
            by_job[line.job_id].append(line)
        for job in jobs:
            job.found_lines(by_job[job.id], read_to, most_size)
            state = job.state()
            if state is None or not state.is_final:
                continue
            if is_cut or self._horizon.is_behind or not state.has_last_lines:
                self._want_again([job])
            else:
                job.close_log()
        if is_cut or self._horizon.is_behind:
            self._want_again(jobs)

    def _want_again(self, jobs: Sequence[WatchedJob]) -> None:
        self._is_incomplete = True
        with self._lock:
            for job in jobs:
                job.is_stale = True


def read_lines(
    connection: Connection, job_ids: Sequence[int], after: int, until: int, limit: int
) -> list[Line]:
    """The lines of some jobs with ids in (after, until], by id."""
    asked = {"job_ids": list(job_ids), "after": after, "until": until, "limit": limit}
    return [
        Line(**row._asdict()) for row in connection.execute(statement("streams", "lines"), asked)
    ]


def read_page(connection: Connection, job_id: int, after: int, until: int) -> list[Line]:
    """A page of one job's lines with ids in (after, until], by id."""
    asked = {"job_id": job_id, "after": after, "until": until, "limit": PAGE_LINES}
    rows = connection.execute(statement("streams", "lines_of_one"), asked)
    return [Line(**row._asdict()) for row in rows]
