"""A window of time at a glance: how many jobs ended in each step of it, how long they waited and ran."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import tallies, window_counts
from app.core.models import Job
from app.core.sql import statement
from app.core.window_counts import Step

LATEST = 20
NEXT = 5
# Among so many of those that wait longest it is looked whose turn is next.
_NEXT_AMONG = 10_000
# A window is cut into about so many steps of one of these lengths, in seconds.
_MOST_STEPS = 62
_STEPS = (60, 300, 900, 3600, 3 * 3600, 6 * 3600, 86_400, 7 * 86_400, 28 * 86_400)

_LATEST_COLUMNS = (
    Job.id,
    Job.task,
    Job.queue,
    Job.owner_name,
    Job.model,
    Job.status,
    Job.scheduled_at,
    Job.progress,
    Job.items_done,
    Job.items_total,
    Job.message,
    Job.error_type,
    Job.error_message,
    Job.created_at,
    Job.started_at,
    Job.ended_at,
    Job.run_ms,
)


@dataclass(frozen=True)
class Series:
    """A window in steps of `step_seconds`, without gaps, and all of it as one step."""

    since: datetime
    until: datetime
    step_seconds: int
    steps: list[Step]
    whole: Step

    @property
    def success_rate(self) -> float | None:
        """0..1, over what completed or failed; None where there is nothing to judge."""
        judged = self.whole.completed + self.whole.failed
        return self.whole.completed / judged if judged else None

    @property
    def average_run_seconds(self) -> float | None:
        """Of the completed runs."""
        return self.whole.run_ms / self.whole.runs / 1000 if self.whole.runs else None


def series(
    session: Session,
    *,
    since: datetime,
    until: datetime,
    task: str | None = None,
    owner_name: str | None = None,
) -> Series:
    """The jobs that ended in the window: of one type or all, of one user or (None) everybody."""
    length = step_seconds((until - since).total_seconds())
    # Steps begin where clocks and calendars (in UTC) have them.
    origin = datetime.fromtimestamp(since.timestamp() // length * length, UTC)
    rows = window_counts.read(
        session,
        "status" if task is None else "task",
        since=since,
        until=until,
        owner_name=owner_name,
        name=task,
        steps=(origin, length),
        with_histograms=True,
    )
    count = max(1, -int((origin - until).total_seconds() // length))
    steps = [Step(origin + timedelta(seconds=length * number)) for number in range(count)]
    whole = Step(since)
    for row in rows:
        steps[min(max(row.step, 0), count - 1)].add(row)
        whole.add(row)
    return Series(since, until, length, steps, whole)


def step_seconds(seconds: float) -> int:
    """How long each step of a window of so many seconds is."""
    return next((step for step in _STEPS if seconds / step <= _MOST_STEPS), _STEPS[-1])


@dataclass(frozen=True)
class Open:
    """What has not ended; `oldest_at` is since when the job that waits longest has been due."""

    running: int
    waiting: int
    scheduled: int
    oldest_at: datetime | None


def count_open(session: Session, *, task: str | None = None, owner_name: str | None = None) -> Open:
    """Now: of one type or all, of one user or (None) everybody."""
    now = datetime.now(UTC)
    found = tallies.count(
        session, "task", since=now, until=now, owner_name=owner_name, with_waiting=True
    )
    counted = [by_status for name, by_status in found.items() if task in (None, name)]

    def total(status: str) -> int:
        return sum(by_status[status].jobs for by_status in counted if status in by_status)

    later = sum(
        tally.later for each in counted for name, tally in each.items() if name == "pending"
    )
    return Open(
        running=total("running"),
        waiting=total("pending") + total("retrying") - later,
        scheduled=later,
        oldest_at=tallies.oldest_due_at(
            tally for by_status in counted for tally in by_status.values()
        ),
    )


def latest(
    session: Session,
    *,
    since: datetime,
    until: datetime,
    task: str | None = None,
    owner_name: str | None = None,
    limit: int = LATEST,
) -> Sequence[Any]:
    """The newest jobs that were made in the window."""
    jobs = select(*_LATEST_COLUMNS).where(Job.created_at >= since, Job.created_at < until)
    if task is not None:
        jobs = jobs.where(Job.task == task)
    if owner_name is not None:
        jobs = jobs.where(Job.owner_name == owner_name)
    return session.execute(jobs.order_by(Job.created_at.desc(), Job.id.desc()).limit(limit)).all()


def up_next(
    session: Session, *, task: str | None = None, owner_name: str | None = None
) -> Sequence[Any]:
    """The next of those that are due, then of those that are scheduled; NEXT at most."""
    asked = {"owner_name": owner_name, "task": task}
    due = session.execute(
        statement("overview", "next"), {**asked, "most": _NEXT_AMONG, "limit": NEXT}
    ).all()
    if len(due) == NEXT:
        return due
    later = session.execute(
        statement("overview", "later"), {**asked, "limit": NEXT - len(due)}
    ).all()
    return [*due, *later]
