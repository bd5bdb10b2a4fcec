"""One job: where it stands, what it said, what came of it."""

from __future__ import annotations

import json
from typing import Any

from flask import Blueprint, g, render_template
from sqlalchemy import select
from sqlalchemy.orm import Session, defer

from app.core import admission, dependencies, files, old_results, status
from app.core.errors import NotFound
from app.core.models import Attempt, Job, LogLine
from app.core.watched_job import get_state
from app.extensions import current_settings, db
from app.pages.fragments import wants_fragment

blueprint = Blueprint("jobs", __name__, url_prefix="/jobs")

_NEWEST_LINES = 200
_NEWEST_ATTEMPTS = 50
_LONGEST_VALUE = 4000


@blueprint.get("/<job_id>")
def show(job_id: str) -> str:
    """The page, or only what changes on it."""
    session = db.session()
    state = get_state(session, job_id, g.actor.owner_name)
    job = session.scalars(
        select(Job).where(Job.id == state.id, Job.created_at == state.created_at)
    ).one()
    latest = (
        select(Attempt)
        .where(Attempt.job_id == job.id, Attempt.job_created_at == job.created_at)
        .order_by(Attempt.number.desc())
        .limit(_NEWEST_ATTEMPTS)
        .options(defer(Attempt.result))
    )
    newest = (
        select(LogLine)
        .where(LogLine.job_id == job.id)
        .order_by(LogLine.id.desc())
        .limit(_NEWEST_LINES)
    )
    return render_template(
        "jobs/_job.html" if wants_fragment() else "jobs/show.html",
        job=job,
        message=admission.reasons(session, current_settings(), [job]).get(job.id) or job.message,
        word=state.status,
        is_live=state.status not in status.FINAL,
        attempts=list(reversed(session.scalars(latest).all())),
        most_attempts=_NEWEST_ATTEMPTS,
        lines=list(reversed(session.scalars(newest).all())),
        most_lines=_NEWEST_LINES,
        file=_file(session, job.result),
        arguments=_shown(job.arguments),
        result=None if job.result is None else _shown(job.result),
        has_expired=job.result == old_results.EXPIRED,
        graph=dependencies.graph(session, job, g.actor.owner_name),
    )


def _file(session: Session, result: Any) -> Any:
    """The file that a task made, where its result names one that is still kept."""
    file_id = result.get("file_id") if isinstance(result, dict) else None
    if not isinstance(file_id, str):
        return None
    try:
        return files.get(session, file_id, g.actor.owner_filter)
    except NotFound:
        return None


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)[:_LONGEST_VALUE]
