"""A job's log: its newest lines on the page, which a stream goes on with, and all of it to save."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flask import Blueprint, Response, g
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import job_record, logs
from app.core.models import Job, LogLine
from app.extensions import db
from app.pages import downloads

blueprint = Blueprint("job_log", __name__, url_prefix="/jobs")

_NEWEST = 500
_MOST = 100_000


@dataclass(frozen=True)
class Log:
    """The newest lines, oldest first; the stream goes on after the id `until`."""

    lines: Sequence[LogLine]
    has_earlier: bool

    @property
    def until(self) -> int:
        return self.lines[-1].id if self.lines else 0


def read(session: Session, job: Job) -> Log:
    """What the page begins with."""
    newest = (
        select(LogLine)
        .where(LogLine.job_id == job.id, LogLine.at >= job.created_at - job_record.CLOCK_SKEW)
        .order_by(LogLine.id.desc())
        .limit(_NEWEST + 1)
    )
    lines = list(session.scalars(newest))
    return Log(list(reversed(lines[:_NEWEST])), len(lines) > _NEWEST)


@blueprint.get("/<job_id>/log.txt")
def download(job_id: str) -> Response:
    """A job's log as text, its newest lines if there are very many."""
    session = db.session()
    job = job_record.get(session, job_id, g.actor.owner_name)
    return downloads.file(logs.read_job_text(session, job, _MOST), f"job-{job.id}.log")
