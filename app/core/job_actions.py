"""What ends a job: cancel, abort, delete.

Each is one guarded change through Procrastinate in the caller's transaction, made the same however often
it is asked for. What a job's status does not allow (app.core.status.ACTIONS) is a Conflict. What else may
be done: app.core.job_moves, job_retries and job_bulk.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from app.core import adoption, audit, batches, follow_ups, job_record, jobs, result_files, stops
from app.core.acting import (
    Done,
    batch_of,
    begin,
    done,
    hold,
    is_ours,
    key_of,
    look_again,
    refusal,
    shown_status,
)
from app.core.db import driver_connection
from app.core.errors import Conflict, Invalid, StokerError
from app.core.models import JOB_FINAL, Job
from app.core.sql import statement
from app.core.users import Actor

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


def cancel(session: Session, job_id: str, actor: Actor) -> Done:
    """End a job that waits at once, one that runs after its current operation.

    Raises NotFound, Forbidden, and Conflict when it has ended.
    """
    job = begin(session, job_id, actor, "cancel requested")
    if job.status in JOB_FINAL:
        raise refusal(job, "cancelled")
    batch = batch_of(session, job)
    if batch is not None:
        batches.cancel(session, batch.id, None)
    elif not jobs.cancel_waiting(session, job.id) and not jobs.request_stop(session, job.id):
        look_again(session, job)
        raise refusal(job, "cancelled")
    look_again(session, job)
    match job.status:
        case "cancelled":
            message = "The job is cancelled."
        case "running":
            message = "The job stops after its current operation."
        case _:
            message = "Its batch is cancelled already, and this job writes the files of that."
    return done(session, job, actor, "job.cancel", message)


def abort(session: Session, job_id: str, actor: Actor) -> Done:
    """Stop a job that runs at once, by force if it must be; the warning says what that may leave.

    Raises NotFound, Forbidden, Invalid when the job does not run, and Conflict when its batch's files
    are being written.
    """
    job = begin(session, job_id, actor, "abort requested")
    if job.status != "running":
        raise _not_running(job)
    batch = batch_of(session, job)
    if batch is not None:
        batches.cancel(session, batch.id, None)
    if not jobs.request_stop(session, job.id):
        look_again(session, job)
        raise _not_running(job)
    stops.ask(session, job.id, is_abort=True)
    warning = _LEAVES.get(job.task) if is_ours(session, job) else None
    return done(
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


def cancel_all(
    session: Session, job_ids: Sequence[str], actor: Actor
) -> tuple[list[Done], list[tuple[str, str]]]:
    """Cancel several jobs, each for itself; commits. What was done, and why each other was not."""
    cancelled: list[Done] = []
    refused: list[tuple[str, str]] = []
    for job_id in dict.fromkeys(job_ids):
        try:
            cancelled.append(cancel(session, job_id, actor))
            session.commit()
        except StokerError as fault:
            session.rollback()
            refused.append((job_id, fault.message))
    return cancelled, refused


def _not_running(job: Job) -> Invalid:
    return Invalid(
        f"Only a job that is running can be aborted; this one is {shown_status(job)}.",
        param="job_id",
        code="status",
    )
