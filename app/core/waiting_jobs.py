"""Jobs that are not to run yet: they wait here, not in the queue that workers search.

A fetch reads every job that is scheduled in front of the one it takes, so a queue full of jobs for
next week slows each fetch. They have their record and their id from the beginning; when they are
due within the horizon they enter Procrastinate's table under that id, once. Those that depend on
others (app.core.dependencies) are not due before these have completed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from procrastinate import exceptions
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core import adoption
from app.core.db import driver_connection
from app.core.errors import Invalid
from app.core.sql import statement

HORIZON_SECONDS = 600.0
_CHUNK = 1000
_ANY_TIME = datetime(9999, 12, 31, tzinfo=UTC)
# Procrastinate notifies on a channel that is named after the queue, and Postgres takes no longer name.
LONGEST_QUEUE_BYTES = 63 - len("procrastinate_queue_v1#")


def is_far(due_at: datetime, horizon_seconds: float = HORIZON_SECONDS) -> bool:
    """Whether a job for that moment waits here."""
    return due_at > datetime.now(UTC) + timedelta(seconds=horizon_seconds)


def add(
    session: Session,
    task: str,
    arguments: Mapping[str, Any],
    due_at: datetime | None,
    *,
    queue: str,
    priority: int = 0,
    lock: str | None = None,
    queueing_lock: str | None = None,
    owner_name: str | None = None,
    model: str | None = None,
    timeout_seconds: float | None = None,
    needs: int = 0,
) -> int:
    """Let a job wait until it is due; the caller commits. Returns its id.

    `needs`: on how many jobs it still depends. Without `due_at` it is due when these have completed.

    Raises Invalid for a queue whose name is too long, and AlreadyEnqueued, as Procrastinate does, when
    another holds the queueing lock.
    """
    if len(queue.encode()) > LONGEST_QUEUE_BYTES:
        raise Invalid(f"A queue's name has at most {LONGEST_QUEUE_BYTES} bytes.", param="queue")
    if queueing_lock is not None:
        refuse_locked(session, queueing_lock)
    job_id: int = session.execute(
        statement("waiting_jobs", "add"),
        {
            "task": task,
            "queue": queue,
            "priority": priority,
            "lock": lock,
            "queueing_lock": queueing_lock,
            "arguments": json.dumps(arguments),
            "due_at": due_at,
            "owner_name": owner_name,
            "model": model,
            "timeout_seconds": timeout_seconds,
            "needs": needs,
        },
    ).scalar_one()
    _announce(session, job_id)
    return job_id


def refuse_locked(session: Session, queueing_lock: str) -> None:
    """Raises AlreadyEnqueued when a job that waits, here or in the queue, holds the lock."""
    # Two at once: the second looks when the first has committed.
    session.execute(
        select(func.pg_advisory_xact_lock(func.hashtextextended(f"queueing {queueing_lock}", 0)))
    )
    if session.execute(
        statement("waiting_jobs", "is_locked"), {"queueing_lock": queueing_lock}
    ).scalar_one():
        raise exceptions.AlreadyEnqueued(
            f"Job cannot be enqueued: there is already a job waiting with {queueing_lock=}"
        )


def cancel(session: Session, job_id: int) -> bool:
    """Cancel a job that waits here; the caller commits. False: it does not (any more).

    One that is entering the queue right now is waited for, and is no longer here then.
    """
    session.execute(statement("waiting_jobs", "wait_for_followers"), {"job_id": job_id})
    gone = session.execute(statement("waiting_jobs", "cancel"), {"job_id": job_id}).first()
    if gone is None:
        return False
    _announce(session, job_id)
    return True


def enter(session: Session, job_id: int) -> bool:
    """Let one job enter the queue now, in the caller's transaction; it may be due later.

    False: it does not wait here, or its queueing lock is held, and it enters when that is free.
    """
    session.execute(select(func.set_config("stoker.is_due", "on", True)))
    entered: int = session.execute(  # type: ignore[attr-defined]
        statement("waiting_jobs", "enter"), {"job_id": job_id, "until": _ANY_TIME, "limit": 1}
    ).rowcount
    # What else is deferred in this transaction has no record yet.
    session.execute(select(func.set_config("stoker.is_due", "", True)))
    return entered > 0


def enter_due(
    session: Session, horizon_seconds: float = HORIZON_SECONDS, *, chunk: int = _CHUNK
) -> int:
    """Move what is due within the horizon into the queue; commits each chunk. How many moved.

    Several may do this at once, and any may be killed: each job enters exactly once.
    """
    moved = 0
    if not adoption.may_change_queue(driver_connection(session)):
        session.rollback()
        return moved
    while True:
        # It has its record already, so the trigger must not record it again.
        session.execute(select(func.set_config("stoker.is_due", "on", True)))
        entered: int = session.execute(  # type: ignore[attr-defined]
            statement("waiting_jobs", "enter"),
            {
                "job_id": None,
                "until": datetime.now(UTC) + timedelta(seconds=horizon_seconds),
                "limit": chunk,
            },
        ).rowcount
        session.commit()
        moved += entered
        if entered < chunk:
            return moved


def _announce(session: Session, job_id: int) -> None:
    payload = f'{{"noun":"job","id":"{job_id}"}}'
    session.execute(select(func.pg_notify("stoker_changes", payload)))
