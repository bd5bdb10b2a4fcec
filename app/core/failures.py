"""Failed jobs by what went wrong: of one type, with one kind of error, whose message has one shape.

A message's shape is its first line with its numbers and ids left out, so that "row 17 is empty" and
"row 18 is empty" are the same failure.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, func, literal_column
from sqlalchemy.orm import Session

from app.core.models import Job
from app.core.overview import step_seconds
from app.core.sql import statement

# So many of a window's failed jobs, those that ended last, are looked at, and so many groups are given.
MOST_JOBS = 20_000
MOST_GROUPS = 50
_SEPARATOR = "\x1f"
_LONGEST_SHAPE = 200


@dataclass
class Group:
    """Failures of one fingerprint; `counts` has one number for each step of the window."""

    fingerprint: str
    task: str
    error_type: str
    first_at: datetime
    last_at: datetime
    job_id: int
    message: str
    counts: list[int] = field(repr=False)

    @property
    def jobs(self) -> int:
        """How many."""
        return sum(self.counts)

    def add(self, row: Any, step: int) -> None:
        """Take in the failures of one step."""
        self.counts[step] += row.jobs
        self.first_at = min(self.first_at, row.first_at)
        if row.last_at >= self.last_at:
            self.last_at, self.job_id, self.message = row.last_at, row.job_id, row.message or ""


@dataclass(frozen=True)
class Failures:
    """The groups with the most jobs first; `left_out` counts the groups beyond MOST_GROUPS.

    With `back_to`, failed jobs that ended before then were not looked at.
    """

    groups: list[Group]
    left_out: int
    jobs: int
    step_seconds: int
    begins_at: datetime
    back_to: datetime | None


def fingerprint(task: str, error_type: str, shape: str) -> str:
    """Names a group: 32 hexadecimal digits."""
    words = _SEPARATOR.join((task, error_type, shape))
    return hashlib.md5(words.encode(), usedforsecurity=False).hexdigest()


def has_fingerprint(asked: str) -> ColumnElement[bool]:
    """Jobs of the group, as a condition that the index of those that failed serves: word for word."""
    line_end: ColumnElement[str] = literal_column("chr(10)")
    separator: ColumnElement[str] = literal_column("chr(31)")
    nothing: ColumnElement[str] = literal_column("''")
    line = func.split_part(
        func.ltrim(func.coalesce(Job.error_message, nothing)), line_end, literal_column("1")
    )
    shape = line
    for pattern in ("'[0-9a-fA-F]{8,}'", "'[0-9]+'"):
        said: list[ColumnElement[str]] = [literal_column(each) for each in (pattern, "'#'", "'g'")]
        shape = func.regexp_replace(shape, *said)
    parts: tuple[Any, ...] = (
        separator,
        func.coalesce(Job.error_type, nothing),
        separator,
        func.left(shape, literal_column(str(_LONGEST_SHAPE))),
    )
    words_of_it: ColumnElement[str] = Job.task.expression
    for part in parts:
        words_of_it = words_of_it.op("||")(part)
    return func.md5(words_of_it) == asked


def find(
    session: Session,
    *,
    since: datetime,
    until: datetime,
    task: str | None = None,
    owner_name: str | None = None,
) -> Failures:
    """The jobs that failed in a window: of one type or all, of one user or (None) everybody."""
    length = step_seconds((until - since).total_seconds())
    origin = datetime.fromtimestamp(since.timestamp() // length * length, UTC)
    steps = max(1, -int((origin - until).total_seconds() // length))
    rows = session.execute(
        statement("failures", "groups"),
        {
            "since": since,
            "until": until,
            "origin": origin,
            "step": float(length),
            "task": task,
            "owner_name": owner_name,
            "most": MOST_JOBS,
        },
    ).all()
    groups: dict[str, Group] = {}
    for row in rows:
        if row.task is None:
            continue
        name = fingerprint(row.task, row.error_type, row.shape)
        if name not in groups:
            groups[name] = Group(
                name,
                row.task,
                row.error_type,
                row.first_at,
                row.last_at,
                row.job_id,
                row.message or "",
                [0] * steps,
            )
        groups[name].add(row, min(max(row.step, 0), steps - 1))
    ordered = sorted(groups.values(), key=lambda group: (-group.jobs, -group.last_at.timestamp()))
    return Failures(
        groups=ordered[:MOST_GROUPS],
        left_out=max(0, len(ordered) - MOST_GROUPS),
        jobs=sum(group.jobs for group in ordered),
        step_seconds=length,
        begins_at=origin,
        back_to=rows[0].back_to if rows and rows[0].looked_at >= MOST_JOBS else None,
    )
