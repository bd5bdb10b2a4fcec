"""Which failed jobs may be retried by somebody, and why not the others: told before it is tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import adoption, batches, tasks
from app.core.db import driver_connection
from app.core.models import FINAL, JOB_FINAL, Batch, Job
from app.core.sql import statement
from app.core.users import Actor


@dataclass(frozen=True)
class Eligibility:
    """Whether a retry would be taken, with the reason where not; `retried_as` is the latest one."""

    can_retry: bool
    reason: str | None = None
    retried_as: int | None = None


def find(session: Session, jobs: Sequence[Any], actor: Actor) -> dict[int, Eligibility]:
    """For each of these jobs, which have ended, by its id."""
    if not jobs:
        return {}
    ids = [job.id for job in jobs]
    may_change = adoption.may_change_queue(driver_connection(session))
    retries = {
        row.retried_from: row
        for row in session.execute(statement("job_actions", "retries"), {"ids": ids})
    }
    lost = _lost_batches(session, [job.id for job in jobs if job.task == batches.TASK])
    found = {}
    for job in jobs:
        retried = retries.get(job.id)
        reason = None
        if "submit" not in actor.scopes:
            reason = "you may look at jobs, and not start any"
        elif not may_change:
            reason = "this database's role may watch the queue, and not change it"
        elif retried is not None and retried.status not in JOB_FINAL:
            reason = "its retry has not ended"
        elif job.id in lost:
            reason = lost[job.id]
        else:
            reason = _lacking_scope(job.task, actor)
        found[job.id] = Eligibility(reason is None, reason, None if retried is None else retried.id)
    return found


def _lacking_scope(task: str, actor: Actor) -> str | None:
    spec = tasks.TASKS.get(task)
    if spec is None or spec.scope in actor.scopes:
        return None
    return f"starting {task} needs the scope {spec.scope!r}"


def _lost_batches(session: Session, ids: list[int]) -> dict[int, str]:
    """Jobs whose batch can't be made again."""
    if not ids:
        return {}
    batch_id = Job.arguments["batch_id"].astext
    query = (
        select(Job.id, Batch.id.label("batch_id"), Batch.status)
        .outerjoin(Batch, Batch.id == batch_id)
        .where(Job.id.in_(ids))
    )
    lost = {}
    for row in session.execute(query):
        if row.batch_id is None:
            lost[row.id] = "its batch is gone"
        elif row.status not in FINAL:
            lost[row.id] = f"its batch has not ended: it is {row.status}"
    return lost
