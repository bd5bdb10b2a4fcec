"""Stopping a job that runs: it was requested, its worker has heard of it, it has stopped.

The first two are here, each with its time and a line in the job's history; the third is its end.
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.models import Job
from app.core.sql import statement


def ask(session: Session, job_id: int, *, is_abort: bool = False) -> None:
    """Note that a job is to stop, if it runs: the worker looks there whether by force.

    To tell its worker is somebody else's: `jobs.request_stop`, or its batch's status. The caller commits.
    """
    asked = session.execute(
        statement("job_actions", "ask_to_stop"), {"job_id": job_id, "is_abort": is_abort}
    ).first()
    if asked is not None:
        words = "abort requested" if is_abort else "cancel requested"
        told = {"job_id": job_id, "created_at": asked.created_at, "details": words}
        session.execute(statement("job_actions", "tell_once"), told)


def acknowledge(session: Session, job_id: int) -> bool:
    """Note that a running job's worker knows it is to stop; whether by force. The caller commits."""
    found = session.execute(statement("job_actions", "acknowledge"), {"job_id": job_id}).first()
    if found is not None:
        told = {"job_id": job_id, "created_at": found.created_at, "details": "its worker stops it"}
        session.execute(statement("job_actions", "tell_once"), told)
    is_abort = session.scalar(
        select(Job.abort_requested_at.is_not(None))
        .where(Job.id == job_id)
        .order_by(Job.created_at.desc())
        .limit(1)
    )
    return bool(is_abort)
