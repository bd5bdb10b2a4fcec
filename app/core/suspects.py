"""Suspects: requests of a batch that were in the engine when it died, or its worker."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import text, update
from sqlalchemy.orm import Session

from app.core.models import Batch
from app.core.sql import statement

# A request that was there at so many deaths is asked alone; one more, and it has failed.
DEATHS_BEFORE_ALONE = 2


def note_deaths(session: Session, batch_number: int, lines: Sequence[int], deaths: int) -> None:
    """These requests were in the engine when it died, so often since this was last said; commits."""
    session.execute(
        statement("suspects", "note_deaths"), {"batch_number": batch_number, "lines": list(lines)}
    )
    session.execute(
        update(Batch)
        .where(Batch.number == batch_number)
        .values(engine_deaths=Batch.engine_deaths + deaths)
    )
    session.commit()


def note_sent(
    session: Session, batch_number: int, token: UUID, line: int, answered: Sequence[int]
) -> None:
    """This request is about to be sent by the attempt with that token, those are answered; commits.

    It must outlive the worker, not the machine: the commit does not wait for the disk.
    """
    session.execute(text("SET LOCAL synchronous_commit = off"))
    if answered:
        session.execute(
            statement("suspects", "forget"),
            {
                "batch_number": batch_number,
                "lines": list(answered),
                "most_deaths": DEATHS_BEFORE_ALONE,
            },
        )
    session.execute(
        statement("suspects", "note_sent"),
        {"batch_number": batch_number, "token": token, "line": line},
    )
    session.commit()


def count_lost(session: Session, batch_number: int, job_id: int, token: UUID) -> None:
    """What attempts had sent whose workers died under it has been in one more death; commits.

    `token` is that of the attempt that begins now: what it has noted itself stays.
    """
    session.execute(
        statement("suspects", "count_lost"),
        {"batch_number": batch_number, "job_id": job_id, "token": token},
    )
    session.commit()


def count_sent(session: Session, job_id: int, token: UUID) -> int:
    """How many requests that attempt at the job's batch has noted as sent, and not as answered."""
    found = session.execute(statement("suspects", "count_sent"), {"job_id": job_id, "token": token})
    return int(found.scalar_one())


def count_deadly(session: Session, job_id: int) -> int:
    """How many requests of the job's batch have failed, or are about to, for their deaths."""
    found = session.execute(
        statement("suspects", "count_deadly"),
        {"job_id": job_id, "most_deaths": DEATHS_BEFORE_ALONE},
    )
    return int(found.scalar_one())
