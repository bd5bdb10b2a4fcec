"""The housekeeper's chores that keep the tables small and quick: partitions, archive, retention."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psycopg
import structlog

from app.core import (
    archive,
    partitions,
    queue_indexes,
    retention,
    retention_runs,
    waiting_jobs,
)
from app.core.archive import Archive
from app.core.db import SessionFactory, connect
from app.core.errors import Conflict
from app.core.settings import Settings

log = structlog.get_logger("housekeeper")

# Between two chunks, so that others come to their turn.
_PAUSE_SECONDS = 0.02
_LOCK_TIMEOUT = "900ms"

Chore = Callable[[], object]


class Upkeep:
    """One leadership's upkeep; `ending` breaks off what takes long, between two chunks."""

    def __init__(self, settings: Settings, sessions: SessionFactory) -> None:
        self.ending = threading.Event()
        self._settings = settings
        self._sessions = sessions
        self._archive = Archive(settings)

    def chores(self) -> tuple[tuple[Chore, float], ...]:
        """Each with how many seconds lie between two times."""
        often = self._settings.housekeeping_seconds
        return (
            (self.enter_due_jobs, often),
            (self.archive_jobs, 6 * often),
            (self.retain, 12 * often),
            (self.release_workers, 600.0),
            (self.index_queues, 600.0),
            (self.make_partitions, 3600.0),
        )

    def make_partitions(self) -> None:
        """Before the first row of a month, or of a day, comes."""
        with self._connect() as connection:
            connection.execute(f"SET lock_timeout = '{_LOCK_TIMEOUT}'")
            for name in partitions.ensure(connection):
                log.info("partition.made", name=name)

    def enter_due_jobs(self) -> None:
        """Jobs that have waited until they are (nearly) due enter the queue."""
        with self._sessions() as session:
            waiting_jobs.enter_due(session, self._settings.waiting_horizon_seconds)

    def archive_jobs(self) -> None:
        """Finished rows leave Procrastinate's tables."""
        with self._sessions() as session:
            self._archive.run(session, self._pause)

    def release_workers(self) -> None:
        """Ended jobs let go of their workers; the rows of dead ones go."""
        with self._sessions() as session:
            archive.release_workers(session, self._pause)

    def index_queues(self) -> None:
        """Each queue that is used has its own index."""
        with self._connect() as connection:
            queue_indexes.ensure(connection, self._settings.queue_indexes)

    def retain(self) -> None:
        """The day's run of the retention, if it is due."""
        with self._sessions() as session:
            if not retention_runs.is_due(session, self._settings, datetime.now(UTC)):
                return
        log.info("retention.begins")
        try:
            done = retention.run(self._settings, is_stopping=self.ending.wait)
        except Conflict:
            return  # somebody runs it by hand
        log.info("retention.ended", rows=sum(outcome.rows_removed for outcome in done))

    def _pause(self) -> bool:
        return self.ending.wait(_PAUSE_SECONDS)

    def _connect(self) -> psycopg.Connection[Any]:
        return connect(self._settings.database_url, "housekeeper upkeep", autocommit=True)
