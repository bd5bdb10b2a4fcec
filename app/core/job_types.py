"""The types of jobs: the tasks that this server has, and those that the record knows.

The built-in ones have a label for people, and any other that the settings give one (`use`); the rest are
called what their program calls them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.models import Job
from app.core.settings import Settings
from app.core.sql import statement
from app.core.tasks import TASKS

_MOST = 500
_NEWEST = 10_000
_NO_RANK = 3
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


@dataclass(frozen=True)
class _Words:
    """What types are called and what they do, by the task's name."""

    labels: Mapping[str, str]
    descriptions: Mapping[str, str]
    names: Mapping[str, list[str]] = field(init=False)  # by the label in small letters

    def __post_init__(self) -> None:
        names: defaultdict[str, list[str]] = defaultdict(list)
        for name, called in self.labels.items():
            names[called.casefold()].append(name)
        object.__setattr__(self, "names", dict(names))


_DESCRIPTIONS = {name: spec.description for name, spec in TASKS.items()}
# One installation has one set of words: each process is told them once, when it starts.
_words = _Words(_LABELS, _DESCRIPTIONS)


@dataclass(frozen=True)
class JobType:
    """A task's name, and what it does."""

    name: str
    description: str

    @property
    def label(self) -> str:
        """What people call it."""
        return label(self.name)


def use(settings: Settings) -> None:
    """From now on types are called what the settings call them, too."""
    global _words
    said = {name: text.rstrip(".") for name, text in settings.type_descriptions.items()}
    _words = _Words({**_LABELS, **settings.type_labels}, {**_DESCRIPTIONS, **said})


def label(name: str) -> str:
    """What people call a type: Batch Audit for batch_audit; a task without a label as it is."""
    return _words.labels.get(name, name)


def named(label_or_name: str) -> list[str]:
    """The types that somebody means who writes a label, large or small, or a task's name."""
    return list(dict.fromkeys((label_or_name, *_words.names.get(label_or_name.casefold(), ()))))


def description(name: str) -> str | None:
    """What a task does, where somebody has said it; no full stop at its end."""
    return _words.descriptions.get(name)


def list_types(session: Session, owner_name: str | None = None) -> list[JobType]:
    """Every type by name: of a user's newest jobs or of (None) all jobs, and the built-in ones."""
    seen = _seen(session) if owner_name is None else _seen_of(session, owner_name)
    return [JobType(name, description(name) or _SEEN) for name in sorted({*seen, *TASKS})]


def find(session: Session, begun: str, owner_name: str | None, most: int) -> list[str]:
    """The record's types with a text in their name or label: those that begin with it come first.

    `mail` finds `shop.tasks.send_mail`, too. Of a user's newest jobs or of (None) all jobs.
    """
    begun = begun.casefold()
    seen = _seen(session) if owner_name is None else _seen_of(session, owner_name)
    ranked = [(_rank(name, begun), name) for name in seen]
    return [name for rank, name in sorted(ranked) if rank < _NO_RANK][:most]


def _rank(name: str, begun: str) -> int:
    """How well a text names a type; _NO_RANK when not at all."""
    said = (name.casefold(), label(name).casefold())
    if any(each.startswith(begun) for each in said):
        return 0
    if said[0].rpartition(".")[2].startswith(begun):
        return 1
    return 2 if any(begun in each for each in said) else _NO_RANK


def _seen(session: Session) -> list[str]:
    return list(session.scalars(statement("job_types", "seen"), {"most": _MOST}))


def _seen_of(session: Session, owner_name: str) -> list[str]:
    newest = (
        select(Job.task)
        .where(Job.owner_name == owner_name)
        .order_by(Job.created_at.desc(), Job.id.desc())
        .limit(_NEWEST)
        .subquery("newest")
    )
    return list(session.scalars(select(newest.c.task).distinct()))
