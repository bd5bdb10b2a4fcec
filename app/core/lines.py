"""The line of what waits: in the order of the fetch, each with its place in its queue."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import queue
from app.core.models import Batch
from app.core.sql import statement

# Of each status so many are ordered, those that have waited longest; and a place is counted so far.
MOST = 10_000
MOST_IN_FRONT = 1000


@dataclass(frozen=True)
class Place:
    """Where a job stands in its queue: 1 = next. `starts_at` is an estimate, None: nothing to judge by.

    `is_more`: it stands at this place or behind it.
    """

    position: int
    starts_at: datetime | None = None
    is_more: bool = False


def list_waiting(
    session: Session, *, owner_name: str | None, task: str | None, limit: int, offset: int
) -> Sequence[Any]:
    """A page of what waits: what is due by priority and age, then what is scheduled by its time."""
    asked = {"owner_name": owner_name, "task": task, "most": MOST, "limit": limit, "offset": offset}
    return session.execute(statement("lines", "line"), asked).all()


def in_front(session: Session, ids: Sequence[int]) -> dict[int, int]:
    """How many due jobs stand in front of each job in its queue, MOST_IN_FRONT at most, by its id.

    Jobs that are not in the queue (any more) are left out.
    """
    if not ids:
        return {}
    asked = {"ids": list(ids), "most": MOST_IN_FRONT}
    rows = session.execute(statement("lines", "in_front"), asked)
    return {row.id: row.jobs for row in rows}


def places(session: Session, jobs: Iterable[Any]) -> dict[int, Place]:
    """Places of those that are due, by id; a batch that waits for the engine has that of its line."""
    now = datetime.now(UTC)
    due = [job for job in jobs if job.scheduled_at is None or job.scheduled_at <= now]
    prefix = queue.model_queue("")
    batches = [job.id for job in due if job.queue.startswith(prefix)]
    others = [job.id for job in due if not job.queue.startswith(prefix)]
    found: dict[int, Place] = {}
    for waiting_id, front in in_front(session, others).items():
        found[waiting_id] = Place(front + 1, is_more=front >= MOST_IN_FRONT)
    if batches:
        known = queue.positions(session)
        ids = select(Batch.job_id, Batch.id).where(Batch.job_id.in_(batches))
        for job_id, batch_id in session.execute(ids):
            place = known.get(batch_id)
            if job_id is not None and place is not None and place.position:
                seconds = place.starts_in_seconds
                starts_at = None if seconds is None else now + timedelta(seconds=seconds)
                found[job_id] = Place(place.position, starts_at)
    return found
