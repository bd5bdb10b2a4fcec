"""Recovery: jobs of lost workers go back to their queue, batches without a job get one.

Each job in a transaction of its own: one that can't be put back does not hold up the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import procrastinate
import structlog
from procrastinate import exceptions, sql
from sqlalchemy import Row, update
from sqlalchemy.orm import Session

from app.core import attempts, batches, quarantine, workers
from app.core.db import driver_connection
from app.core.models import Batch
from app.core.settings import Settings
from app.core.sql import statement
from app.core.workers import Hearing

log = structlog.get_logger(__name__)

# Never opened: every call brings the connection of its own transaction.
_connector = procrastinate.SyncPsycopgConnector()

# How a job ends whose attempt has ended so. (After a failed one it may be tried again.)
_ENDS = {"completed": "succeeded", "cancelled": "aborted"}


def recover(
    session: Session, settings: Settings, tasks: Sequence[str], hearing: Hearing | None = None
) -> list[int]:
    """Mark silent workers as lost and put their jobs back; commits. Returns the jobs' ids.

    A job counts as lost when its worker is, when no worker claims it, or when its worker lives but
    has not run it for several heartbeats (its end could not be recorded). One whose attempt was
    through is ended, not run again; one that has cost too many workers is failed.
    """
    for worker in workers.mark_lost(session, settings.worker_stale_seconds, hearing):
        attempts.mark_lost(session, worker.id)
        log.warning("worker.lost", worker=worker.name, pid=worker.pid, host=worker.host)
    session.commit()
    rows = session.execute(
        statement("workers", "doing_jobs"),
        {"tasks": list(tasks)},
    ).all()
    session.rollback()
    # Who began last goes first: of jobs that died together it is the likeliest cause.
    lost = sorted((row for row in rows if _is_lost(row, settings)), key=lambda row: row.age_seconds)
    round_ = _Round(settings)
    return [row.id for row in lost if _release(session, row, round_)]


class _Round:
    """What is to become of the jobs that are lost at the same time.

    Those that died together more than once are put back apart, so that the next crash says whose it
    is. When it comes all the same, the one that began last bears it; twice as many are too many for
    each.
    """

    def __init__(self, settings: Settings) -> None:
        self.limit = settings.quarantine_crashes
        self._apart_seconds = 2 * settings.worker_stale_seconds
        self._blamed: set[object] = set()
        self._suspects = 0

    def is_poison(self, owner_id: object, crashes: int) -> bool:
        """Whether the job is not to be put back."""
        if crashes < self.limit:
            return False
        if owner_id in self._blamed and crashes < 2 * self.limit:
            return False
        if owner_id is not None:
            self._blamed.add(owner_id)
        return True

    def pause_seconds(self, crashes: int) -> float:
        """How long the job waits for others that may be to blame."""
        if crashes < max(self.limit - 1, 2):
            return 0
        pause = self._suspects * self._apart_seconds
        self._suspects += 1
        return pause


def _is_lost(row: Row[Any], settings: Settings) -> bool:
    if row.owner_id is None:
        # A worker that has just started may not have introduced itself yet.
        return bool(row.age_seconds > settings.worker_stale_seconds)
    if not row.owner_is_alive:
        return True
    slack = 3 * settings.worker_heartbeat_seconds
    return not row.owner_runs_it and (row.said_seconds_after_start or 0) > slack


def _release(session: Session, row: Row[Any], round_: _Round) -> bool:
    """Put a lost job back, or fail it; commits. Whether it was put back."""
    seen = {"id": row.id, "attempts": row.attempts, "queue_worker_id": row.queue_worker_id}
    if session.execute(statement("workers", "hold"), seen).one_or_none() is None:
        session.rollback()  # it has ended or moved meanwhile
        return False
    if not row.owner_is_alive:
        session.execute(statement("workers", "lose"), seen)
    outcome = session.scalar(statement("workers", "outcome"), seen)
    try:
        what = _decide(session, row, outcome, round_)
    except exceptions.ProcrastinateException as fault:
        # A sibling holds its queueing lock, say: the others go on.
        session.rollback()
        log.warning("job.not_put_back", job_id=row.id, error=str(fault.__cause__ or fault))
        return False
    session.commit()
    log.warning(f"job.{what}", job_id=row.id)
    return what == "put_back"


def _decide(session: Session, row: Row[Any], outcome: str | None, round_: _Round) -> str:
    """End the job, or put it back; says which."""
    if outcome in _ENDS:
        # It was through, and only the queue has not heard: nothing is done twice.
        _finish(session, row.id, _ENDS[outcome])
        return "end_made_up_for"
    crashes = quarantine.crashes(session, row.id, round_.limit)
    if round_.is_poison(row.owner_id, len(crashes)) and not quarantine.is_telling(
        session, row.id, crashes[-1].token, len(crashes), round_.limit
    ):
        quarantine.record(session, row.id, crashes)
        _finish(session, row.id, "failed")
        return "quarantined"
    pause = timedelta(seconds=round_.pause_seconds(len(crashes)))
    put_back(session, row.id, pause)
    return "put_back"


def put_back(session: Session, job_id: int, pause: timedelta = timedelta()) -> None:
    """Let a job that is said to run wait again, as Procrastinate's own retry does."""
    _ask_queue(
        session,
        "retry_job",
        job_id=job_id,
        retry_at=datetime.now(UTC) + pause,
        new_priority=None,
        new_queue_name=None,
        new_lock=None,
    )


def fail(session: Session, job_id: int) -> None:
    """End a job that is said to run as failed."""
    _finish(session, job_id, "failed")


def _finish(session: Session, job_id: int, status: str) -> None:
    _ask_queue(session, "finish_job", job_id=job_id, status=status, delete_job=False)


def _ask_queue(session: Session, query: str, **arguments: Any) -> None:
    """What Procrastinate's job manager asks, in the session's transaction."""
    _connector.execute_query_one_with_connection(
        driver_connection(session), sql.queries[query], **arguments
    )


def settle_batches(session: Session) -> int:
    """Give open batches that nobody would end a job that does; commits. How many there were."""
    due = session.execute(statement("workers", "due_batches"), {"queue": batches.QUEUE}).all()
    for row in due:
        batch = batches.get(session, row.id, None)
        if row.is_waiting:
            batches.hurry(session, batch)
            continue
        if row.is_cancelled and batch.status != "cancelling":
            # Somebody ended the job through Procrastinate itself.
            session.execute(
                update(Batch)
                .where(Batch.id == batch.id, Batch.status.in_(("validating", "in_progress")))
                .values(status="cancelling", cancelling_at=datetime.now(UTC))
            )
        batch.job_id = batches.defer_job(session, batch, priority=batch.priority)
        session.flush()
    session.commit()
    return len(due)
