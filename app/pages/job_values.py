"""A job's arguments and result as text: every digit as it was stored, and no more than one reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, g
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core import job_record
from app.core.errors import NotFound
from app.core.models import Job
from app.extensions import db
from app.pages import downloads

blueprint = Blueprint("job_values", __name__, url_prefix="/jobs")

_LONGEST_OPEN = 2000
_LONGEST_SHOWN = 100_000
_COLUMNS: dict[str, Any] = {"arguments": Job.arguments, "result": Job.result}


@dataclass(frozen=True)
class Value:
    """JSON, indented; `text` is cut at _LONGEST_SHOWN of its `size` characters."""

    text: str
    size: int

    @property
    def is_long(self) -> bool:
        """Whether it is folded until somebody asks for it."""
        return self.size > _LONGEST_OPEN

    @property
    def is_cut(self) -> bool:
        return self.size > len(self.text)

    @property
    def beginning(self) -> str:
        return self.text[:160]


def read(session: Session, job: Job) -> dict[str, Value | None]:
    """A job's `arguments` and `result`.

    Postgres writes them: what Python reads of a number may have fewer digits.
    """
    columns: list[Any] = []
    for name, column in _COLUMNS.items():
        text = func.jsonb_pretty(column)
        columns += [
            func.left(text, _LONGEST_SHOWN).label(name),
            func.length(text).label(f"{name}_size"),
        ]
    row = session.execute(
        select(*columns).where(Job.created_at == job.created_at, Job.id == job.id)
    ).one()
    return {
        name: None if getattr(row, name) is None else Value(getattr(row, name), row[place])
        for name, place in (("arguments", 1), ("result", 3))
    }


@blueprint.get("/<job_id>/arguments.json")
def arguments(job_id: str) -> Response:
    """All of a job's arguments, to be saved."""
    return _download(job_id, "arguments")


@blueprint.get("/<job_id>/result.json")
def result(job_id: str) -> Response:
    """All of a job's result, to be saved."""
    return _download(job_id, "result")


def _download(job_id: str, name: str) -> Response:
    session = db.session()
    job = job_record.get(session, job_id, g.actor.owner_name)
    text = session.scalar(
        select(func.jsonb_pretty(_COLUMNS[name])).where(
            Job.created_at == job.created_at, Job.id == job.id
        )
    )
    if text is None:
        raise NotFound(f"Job {job.id} has no {name}.", param="job_id")
    return downloads.file(text, f"job-{job.id}-{name}.json")
