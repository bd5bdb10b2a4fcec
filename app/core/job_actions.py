"""What may be done to a job: cancel, abort, delete, expedite, reschedule, change its priority.

Each is one guarded change in the caller's transaction, made the same however often it is asked for.
What a job's status does not allow (app.core.status.ACTIONS) is a Conflict. Queued rows change through
Procrastinate; where it has no function, sql/job_actions.sql says so. Retrying is app.core.job_retries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Session

from app.core import (
    adoption,
    audit,
    batches,
    follow_ups,
    job_record,
    jobs,
    result_files,
    stops,
    tasks,
    waiting_jobs,
)
from app.core.db import driver_connection
from app.core.errors import Conflict, Forbidden, Invalid, Refused, StokerError
from app.core.models import JOB_FINAL, Batch, Job
from app.core.sql import statement
from app.core.status import shown
from app.core.users import Actor, authorize

# What an abort may leave behind, by task.
_LEAVES = {
    batches.TASK: "Requests that are in the engine are dropped; answers that were written stay.",
    "export": "It leaves nothing: an export appears whole or not at all.",
    "import": "It leaves nothing: an import is added whole or not at all.",
    "cleanup": "What it has removed so far stays removed.",
    "backup": "An unfinished dump may stay in the folder of backups until the next one is made.",
    "batch_audit": "Verdicts that were written stay; the batch that it asked is cancelled.",
    "re_evaluation": "The batch that it asked is cancelled, and what that has answered stays.",
    "bulk": "Jobs that it has changed so far stay changed.",
}
_LEAVES_UNKNOWN = (
    "Another program runs this job: it stops when that program's worker looks, and what it leaves "
    "half done is not known here."
)
MOST_PRIORITY = 1000  # and its negative is the least
_BATCH_PRIORITIES = range(-1, 2)


@dataclass(frozen=True)
class Done:
    """What an action came to; `status` is our word, or `deleted`.

    `files` are to be removed by `result_files.remove` once the action is committed.
    """

    job_id: int
    status: str
    message: str
    warning: str | None = None
    files: Sequence[str] = ()


def cancel(session: Session, job_id: str, actor: Actor) -> Done:
    """End a job that waits at once, one that runs after its current operation.

    Raises NotFound, Forbidden, and Conflict when it has ended.
    """
    job = begin(session, job_id, actor, "cancel requested")
    if job.status in JOB_FINAL:
        raise refusal(job, "cancelled")
    if batch_of(session, job) is not None:
        _cancel_batch(session, job)
    elif not jobs.cancel_waiting(session, job.id) and not jobs.request_stop(session, job.id):
        look_again(session, job)
        raise refusal(job, "cancelled")
    message = "The job is cancelled."
    look_again(session, job)
    if job.status == "running":
        message = "The job stops after its current operation."
    return _done(session, job, actor, "job.cancel", message)


def abort(session: Session, job_id: str, actor: Actor) -> Done:
    """Stop a job that runs at once, by force if it must be; the warning says what that may leave.

    Raises NotFound, Forbidden, Invalid when the job does not run, and Conflict when its batch's files
    are being written.
    """
    job = begin(session, job_id, actor, "abort requested")
    if job.status != "running":
        raise _not_running(job)
    if batch_of(session, job) is not None:
        _cancel_batch(session, job)
    if not jobs.request_stop(session, job.id):
        look_again(session, job)
        raise _not_running(job)
    stops.ask(session, job.id, is_abort=True)
    warning = _LEAVES.get(job.task) if is_ours(session, job) else None
    return _done(
        session,
        job,
        actor,
        "job.abort",
        "The job is being stopped at once.",
        warning=warning or _LEAVES_UNKNOWN,
    )


def delete(session: Session, job_id: str, actor: Actor) -> Done:
    """Cancel a job that waits, abort one that runs, remove the record of one that has ended.

    With the record go its attempts, transitions, words, log lines and the file of its result, and the
    row in the queue if it is ours. A batch keeps its own log, results and files. Raises NotFound,
    Forbidden, and Conflict while the job's batch has not ended.
    """
    job = begin(session, job_id, actor, None)
    if job.status == "running":
        return abort(session, job_id, actor)
    if job.status not in JOB_FINAL:
        return cancel(session, job_id, actor)
    hold(session, job)
    batch = batch_of(session, job)
    if batch is not None and not batches.is_final(batch):
        raise Conflict(
            f"Its batch {batch.id} has not ended: it is {batch.status}.",
            param="job_id",
            code="status",
        )
    follow_ups.cancel_of(session, job.id)
    files = result_files.names_of(session, job)
    if not adoption.is_adopted(driver_connection(session)):
        session.execute(statement("job_actions", "remove_queued"), key_of(job))
    since = job.created_at - job_record.CLOCK_SKEW
    session.execute(statement("job_actions", "remove_lines"), {**key_of(job), "since": since})
    session.execute(statement("job_actions", "remove"), key_of(job))
    session.expunge(job)
    audit.record(session, actor.label, "job.delete", str(job.id), job.task)
    jobs.announce(session, "job", str(job.id))
    return Done(job.id, "deleted", "The job's record is deleted.", files=files)


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
    return _done(session, job, actor, "job.expedite", "The job is the next of its queue.")


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
    return _done(session, job, actor, "job.reschedule", message, details=due_at.isoformat())


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
    return _done(session, job, actor, "job.priority", message, details=str(priority))


def cancel_all(
    session: Session, job_ids: Sequence[str], actor: Actor
) -> tuple[list[Done], list[tuple[str, str]]]:
    """Cancel several jobs, each for itself; commits. What was done, and why each other was not."""
    done: list[Done] = []
    refused: list[tuple[str, str]] = []
    for job_id in dict.fromkeys(job_ids):
        try:
            done.append(cancel(session, job_id, actor))
            session.commit()
        except StokerError as fault:
            session.rollback()
            refused.append((job_id, fault.message))
    return done, refused


# What the other modules of actions need, too.


def begin(session: Session, job_id: str, actor: Actor, reason: str | None) -> Job:
    """The job that somebody acts on; the record names who, and why, until the transaction's end.

    Raises NotFound (absent, or somebody else's) and Forbidden.
    """
    authorize(actor, "submit")
    job = job_record.get(session, job_id, actor.owner_name)
    look_again(session, job)  # the session may have seen it before
    if not adoption.may_change_queue(driver_connection(session)):
        raise Forbidden("The role of this database connection may watch the queue, not change it.")
    session.execute(
        select(
            func.set_config("stoker.actor", actor.label, True),
            func.set_config("stoker.reason", reason or "", True),
        )
    )
    return job


def look_again(session: Session, job: Job) -> None:
    """Read a job anew. Raises NotFound when somebody has deleted it."""
    job_id = str(job.id)
    try:
        session.refresh(job)
    except InvalidRequestError:
        raise job_record.absent(job_id) from None


def hold(session: Session, job: Job) -> None:
    """Lock the record of a job that has ended, and read it anew. Raises NotFound."""
    session.execute(statement("job_actions", "lock"), key_of(job))
    look_again(session, job)


def is_ours(session: Session, job: Job) -> bool:
    """Whether it is one of our tasks: in another app's queue there may be one of the same name."""
    if job.task not in tasks.TASKS:
        return False
    is_made_here = (job.created_by or "").startswith("stoker ")
    return is_made_here or not adoption.is_adopted(driver_connection(session))


def batch_of(session: Session, job: Job, *, is_held: bool = False) -> Batch | None:
    """The batch whose present job this is; `is_held` locks it, which is done before its job is."""
    if job.task != batches.TASK:
        return None
    query = select(Batch).where(Batch.job_id == job.id)
    if is_held:
        query = query.with_for_update()
    return session.scalar(query.execution_options(populate_existing=True))


def refusal(job: Job, done: str) -> Conflict:
    """That a job's status does not allow what was asked."""
    return Conflict(f"A job that is {_shown(job)} can't be {done}.", param="job_id", code="status")


def _not_running(job: Job) -> Invalid:
    return Invalid(
        f"Only a job that is running can be aborted; this one is {_shown(job)}.",
        param="job_id",
        code="status",
    )


def _shown(job: Job) -> str:
    return shown(job.status, job.scheduled_at, datetime.now(UTC))


def key_of(job: Job) -> dict[str, object]:
    """What names a job in statements: an id may come again."""
    return {"job_id": job.id, "created_at": job.created_at}


def _cancel_batch(session: Session, job: Job) -> None:
    batch = batch_of(session, job)
    assert batch is not None
    batches.cancel(session, batch.id, None)


@dataclass(frozen=True)
class _Place:
    """Where a job waits, and what may be changed of it."""

    is_queued: bool
    priority: int
    scheduled_at: datetime | None
    queue: str


def _hold(session: Session, job: Job, done: str) -> _Place:
    """Lock a job that waits, so that nobody fetches it. Raises Conflict when it does not wait."""
    for name in ("lock_waiting", "lock_queued"):
        row = session.execute(statement("job_actions", name), {"job_id": job.id}).one_or_none()
        if row is not None:
            return _Place(name == "lock_queued", row.priority, row.scheduled_at, row.queue)
    look_again(session, job)
    raise refusal(job, done)


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
    jobs.announce(session, "job", str(job.id))


def _done(
    session: Session,
    job: Job,
    actor: Actor,
    action: str,
    message: str,
    *,
    warning: str | None = None,
    details: str = "",
) -> Done:
    look_again(session, job)
    audit.record(session, actor.label, action, str(job.id), details)
    return Done(job.id, _shown(job), message, warning)
