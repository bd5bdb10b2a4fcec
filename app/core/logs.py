"""Log lines of jobs, kept where the dashboard and the API can read them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Text,
    and_,
    cast,
    false,
    func,
    insert,
    literal_column,
    or_,
    select,
)
from sqlalchemy.orm import Session, aliased

from app.core.errors import Invalid
from app.core.job_record import CLOCK_SKEW
from app.core.models import Attempt, Batch, Job, LogLine
from app.core.watched_job import LEVELS

# Counting a job's log lines stops here.
LINE_COUNT_LIMIT = 100_000
# A search for words looks at so many of a job's newest lines: all of what one attempt may keep.
MOST_SEARCHED = 100_000
# The attempts by whose begin a line is dated that doesn't say its own.
_MOST_ATTEMPTS = 1000


@dataclass(frozen=True)
class NewLine:
    """A log line before it is written."""

    job_id: int
    batch_number: int | None
    at: datetime
    level: str
    message: str
    context: dict[str, Any] | None = None


@dataclass(frozen=True)
class Wanted:
    """Which of a job's lines: of `level` or graver, of one attempt, with a text in any case."""

    level: str | None = None
    attempt: int | None = None
    text: str | None = None

    @property
    def is_all(self) -> bool:
        return self == Wanted()


@dataclass(frozen=True)
class LogPage:
    """Some log lines, oldest first; `total` counts all that match, up to LINE_COUNT_LIMIT."""

    lines: Sequence[LogLine]
    total: int
    has_more: bool


def write(session: Session, lines: Sequence[NewLine]) -> None:
    """Append lines; commits."""
    session.execute(insert(LogLine), [line.__dict__ for line in lines])
    session.commit()


def read_newest(
    session: Session, job: Job, wanted: Wanted, limit: int
) -> tuple[list[LogLine], bool]:
    """A job's newest lines of those that are wanted, oldest first, and whether there are earlier ones.

    Raises Invalid when the job has no such attempt.
    """
    found = select(LogLine).where(
        LogLine.job_id == job.id, LogLine.at >= job.created_at - CLOCK_SKEW
    )
    if wanted.attempt is not None:
        found = found.where(is_of_attempt(session, job, wanted.attempt))
    if wanted.level is not None:
        found = found.where(has_level(wanted.level))
    line: Any = LogLine
    newest = found.order_by(LogLine.id.desc())
    if wanted.text is not None:
        line = aliased(LogLine, newest.limit(MOST_SEARCHED).subquery())
        words = func.concat_ws(" ", line.level, line.message, cast(line.context, Text))
        newest = select(line).where(words.icontains(wanted.text, autoescape=True))
        newest = newest.order_by(line.id.desc())
    lines = session.scalars(newest.limit(limit + 1)).all()
    return list(reversed(lines[:limit])), len(lines) > limit


def list_lines(
    session: Session,
    job: Job,
    *,
    level: str | None = None,
    since: datetime | None = None,
    attempt: int | None = None,
    limit: int = 1000,
) -> LogPage:
    """A job's log lines from `level` on, later than `since`, of one attempt, oldest first.

    Raises Invalid when the job has no such attempt.
    """
    query = select(LogLine).where(LogLine.job_id == job.id)
    # Partitions of days before it are not looked at.
    query = query.where(LogLine.at >= job.created_at - CLOCK_SKEW)
    if level is not None:
        query = query.where(has_level(level))
    if since is not None:
        query = query.where(LogLine.at > since)
    if attempt is not None:
        query = query.where(is_of_attempt(session, job, attempt))
    lines = session.scalars(query.order_by(LogLine.id).limit(limit + 1)).all()
    some = query.with_only_columns(literal_column("1")).limit(LINE_COUNT_LIMIT).subquery()
    total = len(lines)
    if total > limit:
        total = session.scalar(select(func.count()).select_from(some)) or 0
    return LogPage(lines[:limit], total, len(lines) > limit)


def newest_id(session: Session, job: Job) -> int:
    """The id of a job's newest line; 0 when it has none."""
    newest = select(LogLine.id).where(
        LogLine.job_id == job.id, LogLine.at >= job.created_at - CLOCK_SKEW
    )
    return session.scalar(newest.order_by(LogLine.id.desc()).limit(1)) or 0


def has_level(level: str) -> ColumnElement[bool]:
    """Whether a line is of a level or graver. The same as app.core.watched_job.is_at_least: a level that we don't know counts as info."""
    rank = LEVELS.index(level)
    said = func.lower(LogLine.level)
    if rank <= LEVELS.index("info"):
        return said.not_in(LEVELS[:rank])
    return said.in_(LEVELS[rank:])


def is_of_attempt(session: Session, job: Job, number: int) -> ColumnElement[bool]:
    """Whether a line of a job is of its attempt `number`. Raises Invalid when there is none.

    Lines that do not say their attempt are of the one that had begun by then.
    """
    if not 0 < number <= job.attempts:
        raise Invalid(f"attempt: job {job.id} has no attempt {number}.", param="attempt")
    attempts = select(Attempt.started_at).where(
        Attempt.job_created_at == job.created_at, Attempt.job_id == job.id
    )
    is_unsaid: ColumnElement[bool] = LogLine.attempt_number.is_(None)
    if number > 1:
        began = session.scalar(attempts.where(Attempt.number == number))
        is_unsaid = and_(is_unsaid, LogLine.at >= began) if began else false()
    if number < job.attempts:
        later = attempts.where(Attempt.number > number).order_by(Attempt.number).limit(1)
        if (until := session.scalar(later)) is not None:
            is_unsaid = and_(is_unsaid, LogLine.at < until)
    return or_(LogLine.attempt_number == number, is_unsaid)


def attempts_of(session: Session, job: Job, lines: Sequence[LogLine]) -> list[int | None]:
    """The attempt of each line; None before there was one."""
    numbers = [line.attempt_number for line in lines]
    if None not in numbers:
        return numbers
    begun = session.execute(
        select(Attempt.started_at, Attempt.number)
        .where(Attempt.job_created_at == job.created_at, Attempt.job_id == job.id)
        .order_by(Attempt.number.desc())
        .limit(_MOST_ATTEMPTS)
    ).all()[::-1]
    starts = [row.started_at for row in begun]

    def at_its_time(line: LogLine) -> int | None:
        place = max(0, bisect_right(starts, line.at) - 1)
        return begun[place].number if begun else None

    return [
        number if number is not None else at_its_time(line)
        for number, line in zip(numbers, lines, strict=True)
    ]


def read_text(session: Session, batch: Batch, limit: int = 10_000) -> str:
    """A batch's newest log lines as text, oldest first, one line each."""
    lines = list(
        session.scalars(
            select(LogLine)
            .where(LogLine.batch_number == batch.number)
            .order_by(LogLine.id.desc())
            .limit(limit)
        )
    )
    return "".join(f"{_text(line)}\n" for line in reversed(lines))


def read_job_text(session: Session, job: Job, limit: int, wanted: Wanted = Wanted()) -> str:
    """A job's newest log lines as text, oldest first, one line each; a line of its own says where
    another attempt begins.
    """
    lines, _ = read_newest(session, job, wanted, limit)
    return "".join(f"{line}\n" for line in _with_attempts(session, job, lines))


def _with_attempts(session: Session, job: Job, lines: Sequence[LogLine]) -> Iterator[str]:
    numbers = attempts_of(session, job, lines) if job.attempts > 1 else [None] * len(lines)
    last = None
    for line, number in zip(lines, numbers, strict=True):
        if number != last:
            yield f"--- Attempt {number} ---"
            last = number
        yield _text(line)


def _text(line: LogLine) -> str:
    words = " ".join(f"{key}={value}" for key, value in (line.context or {}).items())
    at = line.at.isoformat(timespec="milliseconds")
    return f"{at} {line.level.upper():7} {line.message}{' ' + words if words else ''}"
