"""A job's arguments and result as text: every digit as it was stored, since Postgres writes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core.models import Job

LONGEST_SHOWN = 100_000
_LONGEST_OPEN = 2000
_COLUMNS: dict[str, Any] = {"arguments": Job.arguments, "result": Job.result}


@dataclass(frozen=True)
class Value:
    """JSON, indented; `text` is cut at LONGEST_SHOWN of its `size` characters."""

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
            func.left(text, LONGEST_SHOWN).label(name),
            func.length(text).label(f"{name}_size"),
        ]
    row = session.execute(
        select(*columns).where(Job.created_at == job.created_at, Job.id == job.id)
    ).one()
    return {
        name: None if getattr(row, name) is None else Value(getattr(row, name), row[place])
        for name, place in (("arguments", 1), ("result", 3))
    }


def whole(session: Session, job: Job, name: Literal["arguments", "result"]) -> str | None:
    """All of one of them, however long; None where there is none."""
    text = select(func.jsonb_pretty(_COLUMNS[name]))
    return session.scalar(text.where(Job.created_at == job.created_at, Job.id == job.id))
