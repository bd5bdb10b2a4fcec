"""Attempts: each try of a job has a token, and only who holds it may write.

Their rows are opened and closed by triggers and the worker's middleware (sql/record.sql, sql/reports.sql).
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.core.models import Attempt


def mark_lost(session: Session, worker_id: UUID) -> None:
    """Close what a lost worker had open."""
    session.execute(
        update(Attempt)
        .where(Attempt.worker_id == worker_id, Attempt.outcome.is_(None))
        .values(outcome="lost", ended_at=func.clock_timestamp())
    )


def count(session: Session, job_id: int, outcome: str) -> int:
    """How many attempts of a job ended like this."""
    return (
        session.scalar(
            select(func.count()).where(Attempt.job_id == job_id, Attempt.outcome == outcome)
        )
        or 0
    )
