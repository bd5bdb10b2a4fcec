"""Paused queues: no worker of ours fetches from one until it is resumed; what runs goes on.

The fetch itself looks (sql/fetch.sql), so a pause outlives every restart and begins with its commit.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, exists, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.core import adoption, audit, jobs, queue, reasons
from app.core.db import driver_connection
from app.core.errors import NotFound, Refused
from app.core.models import Job, QueuePause

# The advisory lock of every fetch, as in sql/fetch.sql.
_FETCH_KEY = 4_080_002


@dataclass(frozen=True)
class Pause:
    """A queue that is paused: since when, by whom and why."""

    queue: str
    paused_at: datetime
    paused_by: str
    reason: str


def by_queue(session: Session) -> dict[str, Pause]:
    """All that are paused, in the order of their names."""
    found = session.scalars(select(QueuePause).order_by(QueuePause.queue))
    return {
        each.queue: Pause(each.queue, each.paused_at, each.paused_by, each.reason) for each in found
    }


def pause(
    session: Session, name: str, reason: str, actor: str, *, models: Collection[str]
) -> QueuePause:
    """Pause a queue; one that is paused already stays as it is. The caller commits.

    Once that is done, no worker of ours takes a job from it. `models` are those of the registry.
    Raises Invalid (the reason), NotFound (no such queue), and Refused where another app's workers read
    the queue.
    """
    reason = reasons.read(reason)
    _refuse_others(session, name, models)
    # Fetches that have begun end first.
    session.execute(select(func.pg_advisory_xact_lock(_FETCH_KEY)))
    made: QueuePause | None = session.scalar(
        insert(QueuePause)
        .values(queue=name, paused_by=actor, reason=reason)
        .on_conflict_do_nothing()
        .returning(QueuePause)
    )
    if made is None:
        return session.scalars(select(QueuePause).where(QueuePause.queue == name)).one()
    audit.record(session, actor, "queue.pause", name, reason)
    jobs.announce(session, "queue", name)
    return made


def resume(session: Session, name: str, actor: str, *, models: Collection[str]) -> bool:
    """Let workers fetch again, and wake them; the caller commits. False: it was not paused.

    Raises NotFound and Refused, as `pause` does.
    """
    gone = session.scalar(
        delete(QueuePause).where(QueuePause.queue == name).returning(QueuePause.queue)
    )
    if gone is None:
        _refuse_others(session, name, models)
        return False
    audit.record(session, actor, "queue.resume", name)
    jobs.announce(session, "queue", name)
    # As Procrastinate tells its workers that a job has come.
    word = json.dumps({"type": "job_inserted", "job_id": 0})
    for channel in (f"procrastinate_queue_v1#{name}", "procrastinate_any_queue_v1"):
        if len(channel.encode()) < 64:
            session.execute(select(func.pg_notify(channel, word)))
    return True


def own_queues(models: Collection[str]) -> list[str]:
    """The queues that there are without any job, with a registry of these models."""
    return [queue.BATCHES, queue.TASKS, *map(queue.model_queue, models)]


def _refuse_others(session: Session, name: str, models: Collection[str]) -> None:
    """Only our own workers ask whether a queue is paused."""
    known = own_queues(models)
    if name not in known and not session.scalar(select(exists().where(Job.queue == name))):
        raise NotFound(f"There is no queue {name[:100]!r}.", param="name", code="not_found")
    is_ours = name in known or name.startswith(queue.model_queue(""))
    hindrance = adoption.hindrance(driver_connection(session), [name])
    if not is_ours or hindrance is not None:
        raise Refused(
            f"The queue {name!r} is read by another app's own workers, which know nothing of a pause "
            "here: stop those workers instead.",
            param="name",
            code="not_our_queue",
        )
