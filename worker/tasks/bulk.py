"""The task `bulk`: one action on all jobs that a search finds, each for itself."""

from __future__ import annotations

import logging
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import bulk_items, job_actions, job_bulk, job_retries, result_files
from app.core.errors import StokerError
from app.core.models import Job
from app.core.settings import Settings
from app.core.tasks import Bulk
from app.core.users import Actor
from worker.tasks.work import Result, Work, built_in

log = logging.getLogger(__name__)

_MOST_ERRORS = 20


@built_in("bulk", Bulk)
def bulk(work: Work, asked: Bulk) -> Result:
    """Do it to all that matched when the job was made; begun anew it goes on where it was."""
    actor = job_bulk.actor_for(work.owner, asked)
    verb = asked.action.capitalize()
    with work.session() as session:
        asked_at = session.scalars(select(Job.created_at).where(Job.id == work.job_id)).one()
        before = bulk_items.recorded(session, work.job_id)
        found = job_bulk.find_jobs(session, asked, actor, asked_at)
        left = [job for job in found if job[0] not in before]
        session.rollback()
        total = len(before) + len(left)
        log.info("%s: %s jobs match", asked.action, f"{total:,}")
        for number, job in enumerate(left, start=len(before)):
            work.check()
            work.progress(number, total, f"{verb}: job {job[0]}")
            try:
                _act(session, work, asked.action, job, actor, asked_at)
            except StokerError as fault:
                session.rollback()
                bulk_items.record_skipped(session, work.job_id, job, fault.message)
                session.commit()
        result = _result(session, work.job_id, asked.action, total)
    words = f"{result['done']:,} of {total:,} jobs, {result['skipped']:,} skipped"
    work.progress(total, total, f"{verb}: {words}")
    log.info("%s: %s", asked.action, words)
    return result


def _act(
    session: Session, work: Work, action: str, job: tuple[int, str], actor: Actor, since: datetime
) -> None:
    """Do it to one job, and write that down, in one transaction."""
    job_id = str(job[0])
    settings: Settings = work.settings
    files: list[str] = []
    found_id: int | None = job[0]
    match action:
        case "cancel":
            job_actions.cancel(session, job_id, actor)
        case "abort":
            job_actions.abort(session, job_id, actor)
        case "retry":
            found_id = job_retries.retry(session, settings, job_id, actor, since=since).job_id
        case "delete":
            files = list(job_actions.delete(session, job_id, actor).files)
            found_id = None
    bulk_items.record_done(session, work.job_id, job, found_id)
    session.commit()
    result_files.remove(settings, files)


def _result(session: Session, bulk_id: int, action: str, total: int) -> Result:
    tally = bulk_items.tally(session, bulk_id)
    first, _ = bulk_items.page(session, bulk_id, bulk_items.Wanted(), limit=_MOST_ERRORS)
    return {
        "action": action,
        "matching": total,
        "done": tally.done,
        "skipped": tally.skipped,
        "errors": [{"job_id": str(each.job_id), "error": each.reason} for each in first],
    }
