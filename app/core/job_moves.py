"""Where a job that waits stands in its queue, and when it is due: expedite, reschedule, priority.

Procrastinate has no function that changes a waiting job; sql/job_actions.sql says how it is done.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from app.core import batches, jobs, waiting_jobs
from app.core.acting import Done, batch_of, begin, done, key_of, look_again, refusal
from app.core.errors import Refused
from app.core.models import Job
from app.core.sql import statement
from app.core.users import Actor

MOST_PRIORITY = 1000  # and its negative is the least
_BATCH_PRIORITIES = range(-1, 2)


def expedite(session: Session, job_id: str, actor: Actor) -> Done:
    """Make a job that waits due now, and put it in front of those that wait in its queue.

    A batch gets its highest priority, 1. Raises NotFound, Forbidden and Conflict.
    """
    job = begin(session, job_id, actor, None)
    batch = batch_of(session, job, is_held=True)
    place = _hold(session, job, "expedited")
    due_at = place.scheduled_at
    now = datetime.now(UTC)
    if due_at is not None and due_at > now:
        due_at = now
    priority = place.priority
    if batch is not None:
        priority = _BATCH_PRIORITIES[-1]
    else:
        first = session.execute(
            statement("job_actions", "first_priority"), {"job_id": job.id, "queue": place.queue}
        ).scalar()
        if first is not None and first >= priority:
            priority = max(priority, min(first + 1, MOST_PRIORITY))
    _change(session, job, place, due_at, priority)
    return done(session, job, actor, "job.expedite", "The job is the next of its queue.")


def reschedule(session: Session, job_id: str, actor: Actor, schedule_at: datetime) -> Done:
    """Have a job that waits run no earlier than at a time; one in the past means now.

    Raises NotFound, Forbidden, Conflict, and Refused for a batch, whose time is its window.
    """
    job = begin(session, job_id, actor, None)
    if batch_of(session, job) is not None:
        raise Refused(
            "A batch has no time of its own: it runs within its completion window.",
            param="schedule_at",
        )
    place = _hold(session, job, "rescheduled")
    due_at = schedule_at.astimezone(UTC)
    _change(session, job, place, due_at, place.priority)
    is_later = due_at > datetime.now(UTC)
    message = f"The job is due at {due_at:%Y-%m-%d %H:%M:%S} UTC." if is_later else "It is due now."
    return done(session, job, actor, "job.reschedule", message, details=due_at.isoformat())


def set_priority(session: Session, job_id: str, actor: Actor, priority: int) -> Done:
    """Change the priority of a job that waits; the higher one goes first.

    Raises NotFound, Forbidden, Conflict, and Refused for a batch whose priority is none of -1, 0, 1.
    """
    job = begin(session, job_id, actor, None)
    batch = batch_of(session, job, is_held=True)
    if batch is not None and priority not in _BATCH_PRIORITIES:
        raise Refused("The priority of a batch is -1, 0 or 1.", param="priority")
    place = _hold(session, job, "given another priority")
    _change(session, job, place, place.scheduled_at, priority)
    message = f"The job's priority is {priority}."
    return done(session, job, actor, "job.priority", message, details=str(priority))


@dataclass(frozen=True)
class _Place:
    """Where a job waits, and what may be changed of it."""

    is_queued: bool
    priority: int
    scheduled_at: datetime | None
    queue: str


def _hold(session: Session, job: Job, participle: str) -> _Place:
    """Lock a job that waits, so that nobody fetches it. Raises Conflict when it does not wait."""
    for name in ("lock_waiting", "lock_queued"):
        row = session.execute(statement("job_actions", name), {"job_id": job.id}).one_or_none()
        if row is not None:
            return _Place(name == "lock_queued", row.priority, row.scheduled_at, row.queue)
    look_again(session, job)
    raise refusal(job, participle)


def _change(
    session: Session, job: Job, place: _Place, due_at: datetime | None, priority: int
) -> None:
    """Give a job that is held another time and priority; nothing happens when it has them."""
    if (due_at, priority) == (place.scheduled_at, place.priority):
        return
    wanted = {**key_of(job), "scheduled_at": due_at, "priority": priority}
    if job.task == batches.TASK:
        session.execute(statement("job_actions", "prioritize_batch"), wanted)
    changed = "change_queued" if place.is_queued else "change_waiting"
    session.execute(statement("job_actions", changed), wanted)
    details = []
    if due_at is not None and due_at != place.scheduled_at:
        details.append(f"due at {due_at.isoformat(timespec='seconds')}")
    if priority != place.priority:
        details.append(f"priority {place.priority} → {priority}")
    session.execute(
        statement("job_actions", "tell"), {**key_of(job), "details": ", ".join(details)}
    )
    if not place.is_queued and due_at is not None and not waiting_jobs.is_far(due_at):
        waiting_jobs.enter(session, job.id)
    session.execute(statement("job_actions", "wake"), {"job_id": job.id})
    if not place.is_queued:  # else the trigger tells
        jobs.announce(session, "job", str(job.id))
