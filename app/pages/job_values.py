"""A job's arguments and result, to be saved whole."""

from __future__ import annotations

from typing import Literal

from flask import Blueprint, Response, g

from app.core import job_record, job_values
from app.core.errors import NotFound
from app.extensions import db
from app.pages import downloads

blueprint = Blueprint("job_values", __name__, url_prefix="/jobs")


@blueprint.get("/<job_id>/arguments.json")
def arguments(job_id: str) -> Response:
    """All of a job's arguments, to be saved."""
    return _download(job_id, "arguments")


@blueprint.get("/<job_id>/result.json")
def result(job_id: str) -> Response:
    """All of a job's result, to be saved."""
    return _download(job_id, "result")


def _download(job_id: str, name: Literal["arguments", "result"]) -> Response:
    session = db.session()
    job = job_record.get(session, job_id, g.actor.owner_name)
    text = job_values.whole(session, job, name)
    if text is None:
        raise NotFound(f"Job {job.id} has no {name}.", param="job_id")
    return downloads.file(text, f"job-{job.id}-{name}.json")
