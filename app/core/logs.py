"""Log lines of jobs, kept where the dashboard and the API can read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from app.core.job_record import CLOCK_SKEW
from app.core.models import Batch, Job, LogLine


@dataclass(frozen=True)
class NewLine:
    """A log line before it is written."""

    job_id: int
    batch_number: int | None
    at: datetime
    level: str
    message: str
    context: dict[str, Any] | None = None


def write(session: Session, lines: Sequence[NewLine]) -> None:
    """Append lines; commits."""
    session.execute(insert(LogLine), [line.__dict__ for line in lines])
    session.commit()


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


def read_job_text(session: Session, job: Job, limit: int) -> str:
    """A job's newest log lines as text, oldest first, one line each."""
    newest = (
        select(LogLine)
        .where(LogLine.job_id == job.id, LogLine.at >= job.created_at - CLOCK_SKEW)
        .order_by(LogLine.id.desc())
        .limit(limit)
    )
    return "".join(f"{_text(line)}\n" for line in reversed(session.scalars(newest).all()))


def _text(line: LogLine) -> str:
    words = " ".join(f"{key}={value}" for key, value in (line.context or {}).items())
    at = line.at.isoformat(timespec="milliseconds")
    return f"{at} {line.level.upper():7} {line.message}{' ' + words if words else ''}"
