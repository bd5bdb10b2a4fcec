"""A job that somebody acts on: found, allowed, locked, and what the action came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Session

from app.core import adoption, audit, batches, job_record, tasks
from app.core.db import driver_connection
from app.core.errors import Conflict, Forbidden
from app.core.models import Batch, Job
from app.core.sql import statement
from app.core.status import shown
from app.core.users import Actor, authorize


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


def refusal(job: Job, participle: str) -> Conflict:
    """That a job's status does not allow what was asked."""
    return Conflict(
        f"A job that is {shown_status(job)} can't be {participle}.", param="job_id", code="status"
    )


def key_of(job: Job) -> dict[str, object]:
    """What names a job in statements: an id may come again."""
    return {"job_id": job.id, "created_at": job.created_at}


def shown_status(job: Job) -> str:
    """Its status as we show it."""
    return shown(job.status, job.scheduled_at, datetime.now(UTC))


def done(
    session: Session,
    job: Job,
    actor: Actor,
    action: str,
    message: str,
    *,
    warning: str | None = None,
    details: str = "",
) -> Done:
    """What an action came to, after it is written into the audit trail."""
    look_again(session, job)
    audit.record(session, actor.label, action, str(job.id), details)
    return Done(job.id, shown_status(job), message, warning)
