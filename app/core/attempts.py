"""Attempts: each try of a job has a token, and only who holds it may write."""

from __future__ import annotations

import os
import socket
import traceback
from uuid import UUID

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from app.core.models import Attempt

_TRACEBACK_LIMIT = 20_000


def claim(
    session: Session,
    *,
    job_id: int,
    number: int,
    worker_id: UUID,
    worker_name: str,
    max_attempts: int | None = None,
) -> UUID | None:
    """Put this worker's name on the attempt that its fetch has opened; commits.

    Returns the attempt's token; None when the attempt is not open any more: the job was taken away.
    """
    found = session.execute(
        text("SELECT token FROM stoker_claim(:job, :number, :worker, :name, :host, :pid, :most)"),
        {
            "job": job_id,
            "number": number,
            "worker": worker_id,
            "name": worker_name,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "most": max_attempts,
        },
    ).first()
    session.commit()
    return None if found is None else UUID(str(found[0]))


def end(session: Session, token: UUID, outcome: str, fault: BaseException | None = None) -> bool:
    """Close an attempt; commits. False: somebody else has taken it for lost."""
    values: dict[str, object] = {"outcome": outcome, "ended_at": func.clock_timestamp()}
    if fault is not None:
        values |= {
            "error_type": type(fault).__name__,
            "error_message": str(fault).replace("\0", "\\0")[:2000],
            "traceback": "".join(traceback.format_exception(fault)).replace("\0", "\\0")[
                -_TRACEBACK_LIMIT:
            ],
        }
    # When the answer to the first COMMIT was lost, the second time finds what the first one wrote.
    ended = session.execute(
        update(Attempt)
        .where(Attempt.token == token)
        .where(Attempt.outcome.is_(None) | (Attempt.outcome == outcome))
        .values(**values)
    )
    session.commit()
    return bool(ended.rowcount)  # type: ignore[attr-defined]


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
