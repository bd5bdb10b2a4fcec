"""The task `bulk`: one action on all jobs that a search finds, each for itself."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import job_actions, job_bulk, job_retries, result_files
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
    """Do it to all that matched when the job was made; begun anew it does nothing twice."""
    actor = job_bulk.actor_for(work.owner, asked)
    counts: Counter[str] = Counter()
    errors: list[dict[str, str]] = []
    with work.session() as session:
        asked_at = session.scalars(select(Job.created_at).where(Job.id == work.job_id)).one()
        ids = job_bulk.find_ids(session, asked, actor, asked_at)
        session.rollback()
        log.info("%s: %d jobs match", asked.action, len(ids))
        for number, job_id in enumerate(ids):
            work.check()
            work.progress(number, len(ids), f"{asked.action.capitalize()}: job {job_id}")
            try:
                _act(session, work.settings, asked.action, str(job_id), actor, asked_at)
                counts["done"] += 1
            except StokerError as fault:
                session.rollback()
                counts["skipped"] += 1
                if len(errors) < _MOST_ERRORS:
                    errors.append({"job_id": str(job_id), "error": fault.message})
    words = f"{counts['done']} of {len(ids)} jobs, {counts['skipped']} skipped"
    work.progress(len(ids), len(ids), f"{asked.action.capitalize()}: {words}")
    log.info("%s: %s", asked.action, words)
    return {
        "action": asked.action,
        "matching": len(ids),
        "done": counts["done"],
        "skipped": counts["skipped"],
        "errors": errors,
    }


def _act(
    session: Session, settings: Settings, action: str, job_id: str, actor: Actor, since: datetime
) -> None:
    files = []
    match action:
        case "cancel":
            job_actions.cancel(session, job_id, actor)
        case "abort":
            job_actions.abort(session, job_id, actor)
        case "retry":
            job_retries.retry(session, settings, job_id, actor, since=since)
        case "delete":
            files = list(job_actions.delete(session, job_id, actor).files)
    session.commit()
    result_files.remove(settings, files)
