"""/platform/jobs/{job_id}/…/: the forms by which an earlier platform's pages retry and cancel jobs."""

from __future__ import annotations

from flask import Blueprint, g, redirect, url_for
from flask.typing import ResponseReturnValue

from app.core import job_actions, job_retries
from app.extensions import current_settings, db

blueprint = Blueprint("platform_jobs", __name__, url_prefix="/platform/jobs")


@blueprint.post("/<job_id>/retry/")
def retry(job_id: str) -> ResponseReturnValue:
    """Make a job again, and show the new one."""
    made = job_retries.retry(db.session(), current_settings(), job_id, g.actor)
    db.session.commit()
    return redirect(url_for("jobs.show", job_id=made.job_id), 303)


@blueprint.post("/<job_id>/cancel/")
def cancel(job_id: str) -> ResponseReturnValue:
    """Cancel a job, and show what became of it."""
    done = job_actions.cancel(db.session(), job_id, g.actor)
    db.session.commit()
    return redirect(url_for("jobs.show", job_id=done.job_id), 303)
