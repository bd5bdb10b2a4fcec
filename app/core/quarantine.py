"""Quarantine: a job under which workers die again and again is failed instead of being put back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Row, func, select, text, update
from sqlalchemy.orm import Session

from app.core import jobs, suspects, webhooks
from app.core.models import FINAL, Batch
from app.core.sql import statement

ERROR_TYPE = "Quarantined"
CODE = "quarantined"


def crashes(session: Session, job_id: int, most: int) -> Sequence[Row[Any]]:
    """The attempts at an open job that lost their worker, oldest first.

    Of a batch's job only those since the batch's last answer: who gets on is no poison. Unless it gets
    on from one deadly request to the next, and `most` have been found.
    """
    has_many_deadly = suspects.count_deadly(session, job_id) >= most
    return session.execute(
        statement("workers", "crashes"), {"job_id": job_id, "has_many_deadly": has_many_deadly}
    ).all()


def is_telling(session: Session, job_id: int, token: UUID, crashes: int, most: int) -> bool:
    """Whether the crash of that attempt at a batch helps to find the request that causes it.

    So it does where the attempt had noted what it sent, until `most` have been found to be deadly. One
    is found in a few crashes; where the `crashes` since the last answer are more, it is no request.
    """
    deadly = suspects.count_deadly(session, job_id)
    are_few = crashes < most + (suspects.DEATHS_BEFORE_ALONE + 1) * (deadly + 1)
    return deadly < most and are_few and suspects.count_sent(session, job_id, token) > 0


def describe(found: Sequence[Row[Any]]) -> str:
    """What the job's error says."""
    times = ", ".join(
        f"{row.ended_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
        + (f" ({row.worker_name})" if row.worker_name else "")
        for row in found
    )
    count = "1 worker" if len(found) == 1 else f"{len(found)} workers"
    return f"{count} died while running this job: {times}. It is not tried again by itself."


def record(session: Session, job_id: int, found: Sequence[Row[Any]]) -> None:
    """Write the reason down, before the job is ended as failed in the same transaction."""
    message = describe(found)
    end = {
        "job": job_id,
        "number": found[-1].number,
        "error_type": ERROR_TYPE,
        "error_message": message,
    }
    session.execute(
        text("SELECT stoker_end(CAST(:ends AS jsonb))"), {"ends": orjson.dumps([end]).decode()}
    )
    session.execute(select(func.set_config("stoker.reason", f"quarantined: {message}", True)))
    _end_batch(session, job_id, message)


def _end_batch(session: Session, job_id: int, message: str) -> None:
    """The job's batch, if it has one, gets another job that only writes the end of it.

    When that one kills its workers too, the batch ends as it is, without files.
    """
    error = {"code": CODE, "line": None, "message": message, "param": None}
    mine = update(Batch).where(Batch.job_id == job_id, Batch.status.not_in(FINAL))
    if session.scalar(
        mine.where(Batch.errors.is_(None)).values(errors=[error]).returning(Batch.id)
    ):
        return
    batch: Batch | None = session.scalar(
        mine.values(status="failed", failed_at=func.clock_timestamp()).returning(Batch)
    )
    if batch is not None:
        webhooks.enqueue(session, batch, "failed")
        jobs.announce(session, "batch", batch.id)
