"""Who ran what: a worker's latest jobs, and the lives of the workers of its machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, Subquery, func, literal_column, select
from sqlalchemy.orm import Session

from app.core.errors import NotFound
from app.core.models import Job, Worker
from app.core.stats import StatsCache

MOST_JOBS = 50
MOST_LIVES = 20
# Counting the jobs of a life stops here.
COUNT_LIMIT = 1000
# So many of the newest jobs of its name are looked at; they are read one by one.
LOOKED_AT = 5000

_counts = StatsCache[int](patience=20.0)

_COLUMNS: tuple[Any, ...] = (
    Job.id,
    Job.created_at,
    Job.task,
    Job.status,
    Job.owner_name,
    Job.attempt_started_at,
    Job.ended_at,
    Job.run_ms,
    Job.attempts,
    Job.scheduled_at,
)


@dataclass(frozen=True)
class Life:
    """A worker from its start to its end. `jobs` counts those of which it ran the latest attempt, up to
    COUNT_LIMIT + 1.
    """

    worker: Worker
    jobs: int

    @property
    def has_more(self) -> bool:
        return self.jobs > COUNT_LIMIT

    @property
    def seconds(self) -> float:
        """How long it lived, up to now if it does."""
        until = self.worker.stopped_at or datetime.now(UTC)
        return max(0.0, (until - self.worker.started_at).total_seconds())


def get(session: Session, worker_id: UUID) -> Worker:
    """Raises NotFound."""
    worker = session.get(Worker, worker_id)
    if worker is None:
        raise NotFound(f"There is no worker {worker_id}.", param="worker_id", code="not_found")
    return worker


def list_jobs(session: Session, worker: Worker, owner_name: str | None) -> Sequence[Row[Any]]:
    """The newest MOST_JOBS jobs of which it ran the latest attempt, of `owner_name` (None: anybody)."""
    looked = _looked_at(worker, owner_name)
    mine = select(looked).where(*_in_life(worker, looked.c.attempt_started_at))
    newest = mine.order_by(looked.c.created_at.desc(), looked.c.id.desc())
    return session.execute(newest.limit(MOST_JOBS)).all()


def list_lives(session: Session, worker: Worker, owner_name: str | None) -> list[Life]:
    """The latest workers of its machine and kind, the newest first."""
    found = session.scalars(
        select(Worker)
        .where(Worker.host == worker.host, Worker.kind == worker.kind)
        .order_by(Worker.started_at.desc(), Worker.id)
        .limit(MOST_LIVES)
    ).all()
    return [
        Life(
            each,
            _counts.get(
                (session.get_bind(), each.id, owner_name),
                partial(count_jobs, session, each, owner_name),
            ),
        )
        for each in found
    ]


def count_jobs(session: Session, worker: Worker, owner_name: str | None) -> int:
    """Of how many jobs it ran the latest attempt, up to COUNT_LIMIT + 1."""
    looked = _looked_at(worker, owner_name).c
    some: Select[Any] = select(literal_column("1")).where(
        *_in_life(worker, looked.attempt_started_at)
    )
    return (
        session.scalar(select(func.count()).select_from(some.limit(COUNT_LIMIT + 1).subquery()))
        or 0
    )


def _looked_at(worker: Worker, owner_name: str | None) -> Subquery:
    """The newest jobs of its name until its end; without what is large in them."""
    wanted = [Job.worker_name == worker.name]
    if worker.stopped_at is not None:
        wanted.append(Job.created_at <= worker.stopped_at)
    newest = select(*_COLUMNS).where(*wanted).order_by(Job.created_at.desc(), Job.id.desc())
    looked = newest.limit(LOOKED_AT).subquery()
    if owner_name is None:
        return looked
    # Outside: whoever it is, no more jobs are looked at.
    return select(looked).where(looked.c.owner_name == owner_name).subquery()


def _in_life(worker: Worker, began_at: Any) -> list[ColumnElement[bool]]:
    """Another process may have had the same name, or come to have it."""
    wanted = [began_at >= worker.started_at]
    if worker.stopped_at is not None:
        wanted.append(began_at <= worker.stopped_at)
    return wanted
