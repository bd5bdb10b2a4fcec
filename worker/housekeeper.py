"""The housekeeper: what must happen whether or not a worker lives. One at a time holds the lead."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import structlog
from apscheduler.schedulers.background import BackgroundScheduler
from sqlalchemy.orm import Session, sessionmaker

from app.core import (
    alerts,
    ended_jobs,
    files,
    follow_ups,
    incidents,
    job_events,
    recovery,
    rollups,
    sessions,
    tasks,
)
from app.core.db import SessionFactory, connect, make_engine
from app.core.logging import configure_logging
from app.core.settings import Settings, SettingsError, load_settings
from app.core.workers import Hearing, Pulse
from worker.heart import Heart
from worker.scheduling import Scheduling
from worker.upkeep import Upkeep
from worker.webhooks import Courier

log = structlog.get_logger("housekeeper")

TASKS = tuple(tasks.TASKS)
# Of the database-wide advisory lock that makes one housekeeper the leader.
_LEADER_KEY = 4_080_001
_LEADER_RETRY_SECONDS = 3.0
_OUTAGE_PAUSE_SECONDS = 1.0


class Housekeeper:
    """Runs the chores by APScheduler once it holds the lead."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.id = uuid4()
        self.sessions: SessionFactory = sessionmaker(
            make_engine(settings, "housekeeper", pool_size=8), expire_on_commit=False
        )
        self.stopping = threading.Event()
        self._is_leader = False
        self._hearing = Hearing(settings.worker_stale_seconds / 2)

    def run(self) -> None:
        """Live until told to stop; while the database is away, wait for it."""
        heart = Heart(self.sessions, self._pulse, self.settings.worker_heartbeat_seconds)
        heart.start()
        try:
            while not self.stopping.is_set():
                try:
                    with self._lead() as lead:
                        if not self.stopping.is_set():
                            self._is_leader = True
                            heart.quicken()
                            self._keep_house(lead)
                except psycopg.OperationalError as fault:
                    self._is_leader = False
                    log.warning("housekeeper.waits_for_database", error=str(fault)[:200])
                    self.stopping.wait(_OUTAGE_PAUSE_SECONDS)
        finally:
            heart.stop(self.id)

    def _lead(self) -> psycopg.Connection[tuple[object, ...]]:
        """A connection that holds the leader's lock; waits until it is free."""
        connection = connect(self.settings.database_url, "housekeeper lead", autocommit=True)
        while not self.stopping.is_set():
            row = connection.execute("SELECT pg_try_advisory_lock(%s)", [_LEADER_KEY]).fetchone()
            if row and row[0]:
                break
            self.stopping.wait(_LEADER_RETRY_SECONDS)
        return connection

    def _keep_house(self, lead: psycopg.Connection[tuple[object, ...]]) -> None:
        """Do the chores as long as the lead is held. Raises what says that it is not."""
        scheduler = BackgroundScheduler(timezone="UTC")
        upkeep = Upkeep(self.settings, self.sessions)
        every = self.settings.housekeeping_seconds
        for chore, seconds in (
            (self._recover, every),
            (self._settle, every),
            (self._open_incidents, every),
            (self._tell_of_jobs, every),
            (self._count_ended, every),
            (self._evaluate_alerts, self.settings.alert_seconds),
            (self._cancel_orphans, every),
            (self._open_overlaps, 3600.0),
            (self._expire_files, 60.0),
            (self._remove_leftovers, 3600.0),
            (self._end_sessions, 600.0),
            (self._roll_up, 60.0),
            *upkeep.chores(),
        ):
            scheduler.add_job(
                self._safely(chore),
                "interval",
                seconds=seconds,
                id=chore.__name__,
                max_instances=1,
                coalesce=True,
                misfire_grace_time=60,
            )
        courier = Courier(self.settings, self.sessions)
        scheduling = Scheduling(self.sessions, settings=self.settings)
        for first in (self._remove_leftovers, upkeep.make_partitions):
            self._safely(first)()
        scheduler.start()
        courier.start()
        scheduling.start()
        log.info("housekeeper.leads", pid=os.getpid())
        try:
            while not self.stopping.wait(_LEADER_RETRY_SECONDS):
                lead.execute("SELECT 1")
        finally:
            # Another may lead by now: nothing of ours may still run then.
            upkeep.ending.set()
            scheduling.stop()
            courier.stop()
            scheduler.shutdown(wait=True)

    def _safely(self, chore: Callable[[], object]) -> Callable[[], None]:
        """A chore that fails is logged and tried again at its next time."""

        def run() -> None:
            try:
                chore()
            except Exception as fault:
                log.warning("chore.failed", chore=chore.__name__, error=str(fault)[:500])

        return run

    def _recover(self) -> None:
        with self.sessions() as session:
            session.connection()  # the database answers
            self._hearing.seconds()
            recovery.recover(session, self.settings, TASKS, self._hearing)

    def _settle(self) -> None:
        with self.sessions() as session:
            recovery.settle_batches(session)

    def _open_incidents(self) -> None:
        self._with_session(incidents.scan)

    def _tell_of_jobs(self) -> None:
        self._with_session(job_events.scan)

    def _count_ended(self) -> None:
        self._with_session(ended_jobs.count)

    def _evaluate_alerts(self) -> None:
        self._with_session(lambda session: alerts.evaluate(session, self.settings))

    def _open_overlaps(self) -> None:
        most = self.settings.overlaps_per_day
        self._with_session(lambda session: incidents.scan_overlaps(session, most))

    def _cancel_orphans(self) -> None:
        self._with_session(follow_ups.cancel_orphans)

    def _expire_files(self) -> None:
        self._with_session(lambda session: files.delete_expired(session, self.settings))

    def _remove_leftovers(self) -> None:
        self._with_session(lambda session: files.remove_leftovers(session, self.settings))

    def _roll_up(self) -> None:
        with self.sessions() as session:
            rollups.refresh(session, is_stopping=self.stopping.is_set)

    def _end_sessions(self) -> None:
        before = datetime.now(UTC) - timedelta(days=self.settings.ended_session_days)
        self._with_session(lambda session: sessions.delete_expired(session, before=before))

    def _with_session(self, work: Callable[[Session], int]) -> None:
        with self.sessions() as session:
            work(session)
            session.commit()

    def _pulse(self) -> Pulse:
        return Pulse(
            id=self.id,
            kind="housekeeper",
            name=f"housekeeper-{socket.gethostname()}-{os.getpid()}",
            status="running" if self._is_leader else "standby",
        )


def main() -> int:
    """Run until SIGTERM or SIGINT."""
    try:
        settings = load_settings()
        if not settings.database_url:
            raise SettingsError("The setting DATABASE_URL is needed: `flask up` gives it.")
    except SettingsError as fault:
        print(fault, file=sys.stderr)
        return 2
    configure_logging(settings)
    housekeeper = Housekeeper(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: housekeeper.stopping.set())
    housekeeper.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
