"""Batches that built-in tasks make: which job each is of, and their end when that was cancelled."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import batches
from app.core.errors import Conflict
from app.core.models import IS_OPEN, Batch
from app.core.sql import statement


def key_of(job_id: int) -> str:
    """The idempotency key of the one batch that a job makes."""
    return f"made by job {job_id}"


def cancel_of(session: Session, job_id: int) -> None:
    """Cancel the open batch that a job has made, if there is one; the caller commits."""
    batch_id = session.scalar(
        select(Batch.id).where(Batch.idempotency_key == key_of(job_id), IS_OPEN)
    )
    if batch_id is None:
        return
    try:
        batches.cancel(session, batch_id, None)
    except Conflict:
        pass  # its files are being written


def cancel_orphans(session: Session) -> int:
    """Cancel the open batches whose jobs were cancelled; commits. How many there were."""
    found = session.scalars(statement("jobs", "orphaned_batches")).all()
    for batch_id in found:
        try:
            batches.cancel(session, batch_id, None)
        except Conflict:
            continue  # it has ended meanwhile
    session.commit()
    return len(found)
