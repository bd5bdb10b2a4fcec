"""The jobs of a window of time: what was created, ran or ended in it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, Select, case, func, or_, select
from sqlalchemy.orm import Session

from app.core.models import Job, Worker

MOST_JOBS = 10_000
# What is larger as it is stored is left out of lists: a job's own answer has it.
_MOST_VALUE_BYTES = 16_384


def _bounded(column: Any) -> Any:
    return case((func.pg_column_size(column) <= _MOST_VALUE_BYTES, column))


_COLUMNS = (
    Job.id,
    Job.task,
    Job.status,
    Job.worker_name,
    Job.attempt_started_at,
    _bounded(Job.arguments).label("arguments"),
    Job.progress,
    Job.message,
    Job.items_done,
    Job.items_total,
    _bounded(Job.result).label("result"),
    Job.error_message,
    Job.created_at,
    Job.started_at,
    Job.ended_at,
)


def list_jobs(
    session: Session,
    *,
    since: datetime,
    task: str | None = None,
    owner_name: str | None = None,
    limit: int = MOST_JOBS,
) -> tuple[list[Row[Any]], bool]:
    """The jobs since a moment, newest first, and whether there are more than `limit`."""
    jobs: Select[Any] = select(*_COLUMNS)
    if task is not None:
        jobs = jobs.where(Job.task == task)
    if owner_name is not None:
        jobs = jobs.where(Job.owner_name == owner_name)
    newest = (Job.created_at.desc(), Job.id.desc())
    found = list(
        session.execute(jobs.where(Job.created_at >= since).order_by(*newest).limit(limit + 1))
    )
    if len(found) <= limit:
        # As few were created since then, few of those before have ended since then.
        is_older = or_(Job.ended_at >= since, Job.status == "running")
        older = jobs.where(Job.created_at < since, is_older)
        rows = session.execute(older.limit(limit + 1 - len(found))).all()
        found += sorted(rows, key=lambda job: (job.created_at, job.id), reverse=True)
    return found[:limit], len(found) > limit


def claims_until(session: Session, names: Sequence[str], seconds: float) -> dict[str, datetime]:
    """Until when the living workers of these names keep what they run, unless heard of again."""
    beats = session.execute(
        select(Worker.name, func.max(Worker.last_heartbeat_at))
        .where(Worker.name.in_(names), Worker.stopped_at.is_(None))
        .group_by(Worker.name)
    )
    return {name: beat + timedelta(seconds=seconds) for name, beat in beats}
