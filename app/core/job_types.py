"""The types of jobs: the tasks that this server has, and those that the record knows.

The built-in ones have a label for people; any other task is called what its program calls it.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core.models import Job
from app.core.tasks import TASKS

_MOST = 500
_NEWEST = 10_000
_SEEN = "Seen in the record"
_LABELS = {
    "run_batch": "Batch",
    "export": "Export",
    "import": "Import",
    "cleanup": "Cleanup",
    "backup": "Backup",
    "batch_audit": "Batch Audit",
    "re_evaluation": "Re-evaluation",
    "bulk": "Bulk Action",
}
_NAMES = {label.casefold(): name for name, label in _LABELS.items()}


@dataclass(frozen=True)
class JobType:
    """A task's name, and what it does."""

    name: str
    description: str

    @property
    def label(self) -> str:
        """What people call it."""
        return label(self.name)


def label(name: str) -> str:
    """What people call a type: Batch Audit for batch_audit; a task of another program as it is."""
    return _LABELS.get(name, name)


def named(label_or_name: str) -> list[str]:
    """The types that somebody means who writes a label, large or small, or a task's name."""
    name = _NAMES.get(label_or_name.casefold(), label_or_name)
    return list(dict.fromkeys((label_or_name, name)))


def description(name: str) -> str | None:
    """What a built-in task does."""
    spec = TASKS.get(name)
    return spec.description if spec else None


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
