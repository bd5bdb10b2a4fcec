"""The change feed: one reader per web process hears Postgres and wakes that process's viewers.

Open pages are told *that* something changed, never what it is now: they fetch that themselves.
Viewers of one job (app.core.watch) are told what is new of it. Being told once too often is
harmless, being told too little is not, so every connect counts as a change.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import threading
import time

import psycopg
from sqlalchemy import Connection, NullPool, create_engine
from sqlalchemy.exc import SQLAlchemyError

from app.core.db import connect_args, sqlalchemy_url
from app.core.errors import Unavailable
from app.core.listening import Listening
from app.core.places import Full, Places
from app.core.watch import Watch
from app.core.watched_job import JobState, WatchedJob

__all__ = ["CHANNEL", "ChangeFeed", "Full", "JobViewer", "Viewer"]

CHANNEL = "stoker_changes"

_log = logging.getLogger(__name__)
# Pages are told at most this often, and all at once: what one of them then reads serves them all.
_PACE_SECONDS = 1.0
_CHECK_SECONDS = 15.0  # a silent connection is asked whether it still lives
_MIN_BACKOFF_SECONDS, _MAX_BACKOFF_SECONDS = 0.5, 10.0
_READ_SECONDS = 30.0  # statement time-out of the reader


class Viewer:
    """One open page. What it is told while it does not wait is one change: nothing queues up."""

    def __init__(self, user_id: int | None = None) -> None:
        self.user_id = user_id
        # When it was told last (time.monotonic): what is read from then on has all it was told of.
        self.told_at = time.monotonic()
        self._changed = threading.Event()
        self._changed.set()  # whatever happened before it came

    def tell(self, at: float) -> None:
        """Something has changed before `at`."""
        self.told_at = at
        self._changed.set()

    def wait(self, seconds: float) -> bool:
        """Whether something changed; waits up to `seconds` for it."""
        if not self._changed.wait(seconds):
            return False
        self._changed.clear()
        return True


class JobViewer:
    """One who watches a job; `job` says what is new of it."""

    def __init__(self, feed: ChangeFeed, job: WatchedJob, user_id: int, *, with_log: bool) -> None:
        self.feed = feed
        self.job = job
        self.user_id = user_id
        self.with_log = with_log
        self._version = 0

    def wait(self, seconds: float) -> None:
        """Until something changed since the last time, the process stops, or the time is over."""
        if not self.feed.is_ended:
            self._version = self.job.wait(self._version, seconds)


class ChangeFeed:
    """The viewers of this process, and the thread that listens and reads for them.

    The thread starts with the first viewer, so a process that forks first, or never shows a page,
    has none.
    """

    def __init__(self, database_url: str, limit: int, user_limit: int | None = None) -> None:
        self._database_url = database_url
        self._places = Places(limit, user_limit)
        self._lock = threading.Lock()
        self._viewers: set[Viewer] = set()
        self._job_viewers: set[JobViewer] = set()
        self._watch = Watch(self._ring)
        self._reader_pid: int | None = None
        self._bell = (-1, -1)  # a pipe: what is written into it interrupts the reader's wait
        self._ended = threading.Event()
        self._backoff = _MIN_BACKOFF_SECONDS
        # Of the reader's thread alone.
        self._has_news = False
        self._told_at = -_PACE_SECONDS

    @property
    def is_ended(self) -> bool:
        """Whether the process is about to stop, and with it every stream."""
        return self._ended.is_set()

    def end(self) -> None:
        """End all streams soon and admit none. A signal handler may call it: no stream runs in the
        main thread, so none of the locks taken here is held by what the signal interrupted.
        """
        self._ended.set()
        self._ring()
        self._watch.wake()

    def join(self, user_id: int | None = None) -> Viewer:
        """A page's place in the feed, until `leave`.

        Raises Full when all places are taken, LimitReached when this user's are, Unavailable when
        the process is stopping.
        """
        self._take_place(user_id)
        viewer = Viewer(user_id)
        with self._lock:
            self._viewers.add(viewer)
        self._start_reader()
        self._ring()  # the first to come has the reader say that somebody listens
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """Give the place back; once is enough."""
        with self._lock:
            if viewer not in self._viewers:
                return
            self._viewers.discard(viewer)
        self._places.give_back(viewer.user_id)

    def watch(self, state: JobState, user_id: int, *, with_log: bool = False) -> JobViewer:
        """Watch one job, until `unwatch`. Raises as `join`."""
        self._take_place(user_id)
        viewer = JobViewer(
            self, self._watch.join(state, with_log=with_log), user_id, with_log=with_log
        )
        with self._lock:
            self._job_viewers.add(viewer)
        self._start_reader()
        self._ring()
        return viewer

    def unwatch(self, viewer: JobViewer) -> None:
        """Give the place back; once is enough."""
        with self._lock:
            if viewer not in self._job_viewers:
                return
            self._job_viewers.discard(viewer)
        self._watch.leave(viewer.job, with_log=viewer.with_log)
        self._places.give_back(viewer.user_id)

    def _has_viewers(self) -> bool:
        with self._lock:
            return bool(self._viewers or self._job_viewers)

    def _take_place(self, user_id: int | None) -> None:
        if self.is_ended:
            raise Unavailable("Stoker is stopping.", retry_after_seconds=5)
        self._places.take(user_id)

    def _ring(self) -> None:
        with contextlib.suppress(OSError):  # no reader yet, or it is full: it will look anyway
            os.write(self._bell[1], b"!")

    def _start_reader(self) -> None:
        with self._lock:
            if self._reader_pid == os.getpid():
                return
            self._reader_pid = os.getpid()
            self._bell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        threading.Thread(target=self._read_always, name="changes", daemon=True).start()

    def _read_always(self) -> None:
        engine = create_engine(
            sqlalchemy_url(self._database_url),
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args=connect_args("changes", _READ_SECONDS),
        )
        while not self._ended.is_set():
            try:
                with engine.connect() as connection:
                    try:
                        self._read(connection)
                    except psycopg.Error as fault:
                        connection.invalidate(fault)
                        raise
            except (psycopg.Error, SQLAlchemyError) as fault:
                if self._ended.is_set():
                    return
                words = str(fault).splitlines()[0]
                _log.warning("change feed: %s; trying again in %.1f s", words, self._backoff)
                self._ended.wait(self._backoff)
                self._backoff = min(self._backoff * 2, _MAX_BACKOFF_SECONDS)

    def _read(self, connection: Connection) -> None:
        driver = connection.connection.driver_connection
        assert isinstance(driver, psycopg.Connection)
        driver.execute(f"LISTEN {CHANNEL}")
        listening = Listening(connection)
        # Whatever happened while nobody listened.
        self._watch.forget_horizon()
        self._has_news = True
        poll = select.poll()  # select itself knows no descriptor beyond 1024
        poll.register(driver.fileno(), select.POLLIN)
        poll.register(self._bell[0], select.POLLIN)
        asked_at = time.monotonic()
        while not self._ended.is_set():
            # Before any wait: a notification may have come along with the answer to a query.
            for notice in driver.notifies(timeout=0):
                self._hear(notice.payload)
            self._tell()
            has_viewers = self._has_viewers()
            due = self._watch.seconds_until_due()
            now = time.monotonic()
            if has_viewers and listening.seconds_until_due() <= 0:
                if listening.keep():
                    self._watch.hear("")
                    self._has_news = True
                asked_at = now
            elif due is not None and due <= 0:
                self._watch.refresh(connection)
                asked_at = now
            elif now - asked_at >= _CHECK_SECONDS:
                driver.execute("SELECT 1")
                asked_at = now
            else:
                rest = asked_at + _CHECK_SECONDS - now
                if self._has_news:
                    rest = min(rest, max(0.0, self._told_at + _PACE_SECONDS - now))
                if has_viewers:
                    rest = min(rest, listening.seconds_until_due())
                poll.poll(1000 * (rest if due is None else min(due, rest)) + 1)
                with contextlib.suppress(BlockingIOError):
                    os.read(self._bell[0], 4096)
            self._backoff = _MIN_BACKOFF_SECONDS

    def _tell(self) -> None:
        """Tell every page what there is to tell, unless they were told a moment ago."""
        now = time.monotonic()
        if not self._has_news or now < self._told_at + _PACE_SECONDS:
            return
        self._has_news = False
        self._told_at = now
        with self._lock:
            viewers = list(self._viewers)
        for viewer in viewers:
            viewer.tell(now)

    def _hear(self, payload: str) -> None:
        try:
            said = json.loads(payload)
            noun, object_id = said.get("noun"), str(said.get("id", ""))
        except (ValueError, AttributeError):
            noun, object_id = None, ""
        match noun:
            case "log":
                self._watch.hear(object_id)  # no page shows lines by itself
            case "job":
                self._watch.hear(object_id)
                self._has_news = True
            case "batch" | "alert" | "audit" | "delivery" | "incident":  # none is of one job
                self._has_news = True
            case _:
                self._watch.hear("")
                self._has_news = True
