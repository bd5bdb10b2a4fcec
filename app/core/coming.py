"""What is next: the jobs that are due, then what has a time, jobs and runs of schedules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from app.core import overview, timeline_planned


@dataclass(frozen=True)
class Coming:
    """One of them: a job that is there, or a run of a schedule."""

    job: Any = None
    run: timeline_planned.Planned | None = None


def find(
    session: Session, jobs: Sequence[Any], *, task: str | None, owner_id: int | None
) -> list[Coming]:
    """The first of `jobs` (as overview.up_next gives them) and of the schedules' runs.

    Of one type or all, of one user's or (None) everybody's schedules; overview.NEXT at most.
    """
    now = datetime.now(UTC)
    due = [job for job in jobs if job.scheduled_at is None or job.scheduled_at <= now]
    if len(due) == overview.NEXT:
        return [Coming(job=job) for job in due]
    runs = timeline_planned.next_runs(
        session, now, task=task, owner_id=owner_id, limit=overview.NEXT
    )
    later = [(job.scheduled_at, Coming(job=job)) for job in jobs if job not in due]
    later += [(run.due_at, Coming(run=run)) for run in runs]
    later.sort(key=lambda each: each[0])
    return [*(Coming(job=job) for job in due), *(each for _, each in later)][: overview.NEXT]
