"""The change feed: one listener per web process hears Postgres and wakes that process's viewers.

It says *that* something changed, never what it is now: viewers fetch that themselves. Being told
once too often is harmless, being told too little is not, so every connect counts as a change.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from app.core.db import connect_args
from app.core.errors import LimitReached, Unavailable

CHANNEL = "stoker_changes"

_log = logging.getLogger(__name__)
_PACE_SECONDS = 1.0  # a viewer is woken at most this often
_CHECK_SECONDS = 15.0  # a silent connection is asked whether it still lives
_MIN_BACKOFF_SECONDS, _MAX_BACKOFF_SECONDS = 0.5, 10.0


class Viewer:
    """One open stream. Changes that come while it rests are one change: nothing queues up."""

    def __init__(self) -> None:
        self._changed = threading.Event()
        self._changed.set()  # whatever happened before it came
        self._told_at = 0.0

    def wake(self) -> None:
        """Something changed."""
        self._changed.set()

    def wait(self, seconds: float) -> bool:
        """Whether something changed; waits up to `seconds` for it, and keeps the pace."""
        rest = self._told_at + _PACE_SECONDS - time.monotonic()
        if rest > 0:
            time.sleep(min(rest, seconds))
            if rest > seconds:
                return False
            seconds -= rest
        if not self._changed.wait(seconds):
            return False
        self._changed.clear()
        self._told_at = time.monotonic()
        return True


class ChangeFeed:
    """The viewers of this process and the thread that listens for them.

    The thread starts with the first viewer, so a process that forks first, or never shows a page,
    has none.
    """

    def __init__(self, database_url: str, limit: int) -> None:
        self._database_url = database_url
        self._limit = limit
        self._lock = threading.Lock()
        self._viewers: set[Viewer] = set()
        self._listener_pid: int | None = None
        self._ended = threading.Event()
        self._backoff = _MIN_BACKOFF_SECONDS

    @property
    def is_ended(self) -> bool:
        """Whether the process is about to stop, and with it every stream."""
        return self._ended.is_set()

    def end(self) -> None:
        """End all streams soon and admit none. A signal handler may call it: no stream runs in the
        main thread, so none of the locks taken here is held by what the signal interrupted.
        """
        self._ended.set()

    @contextmanager
    def viewer(self) -> Iterator[Viewer]:
        """A place in the feed for as long as the block lasts.

        Raises LimitReached when all places are taken, Unavailable when the process is stopping.
        """
        viewer = self.join()
        try:
            yield viewer
        finally:
            self.leave(viewer)

    def join(self) -> Viewer:
        """As `viewer`, for a place that is given back by `leave`."""
        with self._lock:
            if self.is_ended:
                raise Unavailable("Stoker is stopping.", retry_after_seconds=5)
            if len(self._viewers) >= self._limit:
                raise Full("All places for live pages are taken; this page refreshes on its timer.")
            viewer = Viewer()
            self._viewers.add(viewer)
            self._start_listener()
            return viewer

    def leave(self, viewer: Viewer) -> None:
        """Give the place back."""
        with self._lock:
            self._viewers.discard(viewer)

    def tell(self) -> None:
        """Wake every viewer."""
        with self._lock:
            viewers = list(self._viewers)
        for viewer in viewers:
            viewer.wake()

    def _start_listener(self) -> None:
        if self._listener_pid == os.getpid():
            return
        self._listener_pid = os.getpid()
        threading.Thread(target=self._listen_always, name="changes", daemon=True).start()

    def _listen_always(self) -> None:
        while not self._ended.is_set():
            try:
                self._listen()
            except psycopg.Error as fault:
                if self._ended.is_set():
                    return
                _log.warning("change feed: %s; trying again in %.1f s", fault, self._backoff)
                self._ended.wait(self._backoff)
                self._backoff = min(self._backoff * 2, _MAX_BACKOFF_SECONDS)

    def _listen(self) -> None:
        with psycopg.connect(
            self._database_url, autocommit=True, **connect_args("changes")
        ) as connection:
            connection.execute(f"LISTEN {CHANNEL}")
            self._backoff = _MIN_BACKOFF_SECONDS
            self.tell()  # whatever happened while nobody listened
            while not self._ended.is_set():
                for _ in connection.notifies(timeout=_CHECK_SECONDS, stop_after=1):
                    self.tell()
                connection.execute("SELECT 1")


class Full(LimitReached):
    """Every place for a live page is taken."""

    http_status = 503

    def __init__(self, message: str) -> None:
        super().__init__(message, retry_after_seconds=30)
