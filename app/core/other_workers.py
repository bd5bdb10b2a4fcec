"""What is known of the workers of another app: what its Procrastinate tells of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from app.core.sql import statement


def are_known(session: Session) -> bool:
    """Whether jobs name their worker: not before Procrastinate's 3.1."""
    return bool(session.scalar(statement("other_workers", "are_known")))


def may_live(session: Session, stale_seconds: float) -> bool:
    """Whether any was heard of lately; also true where nothing is told of them."""
    if not are_known(session):
        return True
    heard_at: datetime | None = session.scalar(statement("other_workers", "heard_at"))
    silent = timedelta(seconds=stale_seconds)
    return heard_at is not None and heard_at > datetime.now(UTC) - silent
