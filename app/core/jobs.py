"""Jobs: deferred and cancelled through Procrastinate, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import procrastinate
from procrastinate import exceptions
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core import waiting_jobs
from app.core.db import driver_connection
from app.core.sql import statement

# Defers by task name, so that the web never imports the worker's code. It is never opened: every
# call brings the connection of its own transaction.
_app = procrastinate.App(connector=procrastinate.SyncPsycopgConnector())


def defer(
    session: Session,
    task: str,
    arguments: Mapping[str, Any],
    *,
    queue: str,
    priority: int = 0,
    lock: str | None = None,
    queueing_lock: str | None = None,
    schedule_at: datetime | None = None,
    horizon_seconds: float = waiting_jobs.HORIZON_SECONDS,
    owner_name: str | None = None,
    model: str | None = None,
    timeout_seconds: float | None = None,
    needs: int = 0,
) -> int:
    """Enqueue `task`; the job exists when the session commits. Returns its id.

    `owner_name` (a user's) and `model` are what it is listed and found by. One that is due later than
    the horizon, or that `needs` so many others to complete first, waits in our own table. Raises
    AlreadyEnqueued when another waits with the same queueing lock.
    """
    is_far = schedule_at is not None and waiting_jobs.is_far(schedule_at, horizon_seconds)
    if needs or is_far:
        return waiting_jobs.add(
            session,
            task,
            arguments,
            schedule_at,
            queue=queue,
            priority=priority,
            lock=lock,
            queueing_lock=queueing_lock,
            owner_name=owner_name,
            model=model,
            timeout_seconds=timeout_seconds,
            needs=needs,
        )
    if queueing_lock is not None:
        waiting_jobs.refuse_locked(session, queueing_lock)
    job_id = _app.configure_task(
        task,
        queue=queue,
        priority=priority,
        lock=lock,
        queueing_lock=queueing_lock,
        schedule_at=schedule_at,
        task_kwargs=dict(arguments),  # an argument may have any name
        connection=driver_connection(session),
    ).defer()
    if owner_name is not None or model is not None or timeout_seconds is not None:
        name(session, job_id, owner_name=owner_name, model=model, timeout_seconds=timeout_seconds)
    return job_id


def name(
    session: Session,
    job_id: int,
    *,
    owner_name: str | None = None,
    model: str | None = None,
    timeout_seconds: float | None = None,
) -> None:
    """Say whose a job is, which model it turned out to be for, or how long it may run."""
    session.execute(
        statement("jobs", "name"),
        {
            "job_id": job_id,
            "owner_name": owner_name,
            "model": model,
            "timeout_seconds": timeout_seconds,
        },
    )


def cancel_waiting(session: Session, job_id: int) -> bool:
    """Cancel a job that no worker has fetched yet. False: it runs, has ended or is gone."""
    if waiting_jobs.cancel(session, job_id):
        return True
    try:
        return _app.job_manager.cancel_job_by_id(job_id, connection=driver_connection(session))
    except exceptions.NoResult:
        return False


def request_stop(session: Session, job_id: int) -> bool:
    """Have a running job's worker stop it, or cancel it where none runs it. False: it has ended."""
    try:
        return _app.job_manager.cancel_job_by_id(
            job_id, abort=True, connection=driver_connection(session)
        )
    except exceptions.NoResult:
        return False


def announce(session: Session, noun: str, object_id: str) -> None:
    """Tell pages that an object changed; they hear of it when the session commits."""
    payload = f'{{"noun":"{noun}","id":"{object_id}"}}'
    session.execute(select(func.pg_notify("stoker_changes", payload)))
