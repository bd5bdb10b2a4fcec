"""The types of jobs: the tasks that this server has, and those that the record knows."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core.models import Job
from app.core.tasks import TASKS

_MOST = 500
_NEWEST = 10_000
_SEEN = "Seen in the record"


@dataclass(frozen=True)
class JobType:
    """A task's name, and what it does."""

    name: str
    description: str


def list_types(session: Session, owner_name: str | None = None) -> list[JobType]:
    """Every type by name: of a user's newest jobs or of (None) all jobs, and the built-in ones."""
    seen = _seen(session) if owner_name is None else _seen_of(session, owner_name)
    known = {name: spec.description for name, spec in TASKS.items()}
    return [JobType(name, known.get(name, _SEEN)) for name in sorted({*seen, *known})]


def _seen(session: Session) -> list[str]:
    """By a walk over the index from name to name, instead of over all jobs."""
    names: list[str] = []
    last = ""
    while len(names) < _MOST:
        found: str | None = session.scalar(select(func.min(Job.task)).where(Job.task > last))
        if found is None:
            break
        names.append(found)
        last = found
    return names


def _seen_of(session: Session, owner_name: str) -> list[str]:
    newest = (
        select(Job.task)
        .where(Job.owner_name == owner_name)
        .order_by(Job.created_at.desc(), Job.id.desc())
        .limit(_NEWEST)
        .subquery("newest")
    )
    return list(session.scalars(select(newest.c.task).distinct()))
