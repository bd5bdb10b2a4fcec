"""A job's log: its newest lines on the page, which a stream goes on with, and all of it to save."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, g, render_template, request
from sqlalchemy.orm import Session

from app.core import job_record, json_text, logs
from app.core.errors import Invalid
from app.core.logs import Wanted
from app.core.models import Job, LogLine
from app.core.status import FINAL
from app.core.watched_job import LEVELS
from app.extensions import db
from app.pages import downloads
from app.pages.fragments import wants_fragment

blueprint = Blueprint("job_log", __name__, url_prefix="/jobs")

_NEWEST = 500
_MOST = 100_000
_LONGEST_SEARCH = 200
_MOST_ATTEMPT = 2**31 - 1
# How many of its newest attempts one can choose.
_MOST_CHOICES = 50


@blueprint.app_template_filter("json_text")
def as_json(value: Any) -> str:
    """As the page's script writes it: for reading, so that nothing in it is escaped for HTML."""
    return json_text.write(value).decode()


@dataclass(frozen=True)
class Log:
    """The newest of the lines that are wanted, oldest first, each with its attempt.

    `until` is the id from which the stream goes on.
    """

    job_id: int
    wanted: Wanted
    lines: Sequence[tuple[LogLine, int | None]]
    has_earlier: bool
    until: int
    attempts: Sequence[int]
    is_live: bool

    @property
    def has_attempts(self) -> bool:
        """Whether it is worth saying of which attempt a line is."""
        return len(self.attempts) > 1

    @property
    def query(self) -> str:
        """What is wanted, as a part of an address."""
        given = {
            "level": self.wanted.level,
            "attempt": self.wanted.attempt,
            "q": self.wanted.text,
        }
        said = urlencode({name: value for name, value in given.items() if value is not None})
        return f"?{said}" if said else ""


def read(session: Session, job: Job, wanted: Wanted = Wanted()) -> Log:  # noqa: B008 - frozen
    """What the page begins with. Raises Invalid when the job has no such attempt."""
    # Before the lines, as the newest of all need not be among them.
    until = 0 if wanted.is_all else logs.newest_id(session, job)
    lines, has_earlier = logs.read_newest(session, job, wanted, _NEWEST)
    if wanted.is_all and lines:
        until = lines[-1].id
    numbers = logs.attempts_of(session, job, lines)
    return Log(
        job.id,
        wanted,
        [(line, number) for line, number in zip(lines, numbers, strict=True) if line.id <= until],
        has_earlier,
        until,
        range(max(1, job.attempts - _MOST_CHOICES + 1), job.attempts + 1),
        job.status not in FINAL,
    )


@blueprint.get("/<job_id>/log")
def show(job_id: str) -> str:
    """A job's log alone, or only those of its lines that are wanted."""
    session = db.session()
    job = _job(session, job_id)
    log = read(session, job, _wanted())
    return render_template(
        "jobs/_log_lines.html" if wants_fragment() else "jobs/log.html", log=log, job=job
    )


@blueprint.get("/<job_id>/log.txt")
def download(job_id: str) -> Response:
    """A job's log, or a part of it, as text: the newest lines if there are very many."""
    session = db.session()
    job = _job(session, job_id)
    wanted = _wanted()
    part = f"-attempt-{wanted.attempt}" if wanted.attempt is not None else ""
    text = logs.read_job_text(session, job, _MOST, wanted)
    return downloads.file(text, f"job-{job.id}{part}.log")


def _job(session: Session, job_id: str) -> Job:
    return job_record.get(session, job_id, g.actor.owner_name)


def _wanted() -> Wanted:
    """What the address asks for; what is empty asks for nothing. Raises Invalid."""
    level = request.args.get("level", "").strip().lower()
    attempt = request.args.get("attempt", "").strip()
    text = request.args.get("q", "").strip()
    if level and level not in LEVELS:
        raise Invalid(f"level must be one of {', '.join(LEVELS)}.", param="level")
    is_number = attempt.isascii() and attempt.isdecimal() and len(attempt) <= 10
    if attempt and not (is_number and 0 < int(attempt) <= _MOST_ATTEMPT):
        raise Invalid("attempt must be a whole number from 1.", param="attempt")
    if len(text) > _LONGEST_SEARCH:
        raise Invalid(f"q must have at most {_LONGEST_SEARCH} characters.", param="q")
    if "\0" in text:
        raise Invalid("q can't have the character NUL.", param="q")
    return Wanted(level or None, int(attempt) if attempt else None, text or None)
