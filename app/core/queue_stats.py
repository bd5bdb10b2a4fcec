"""How the queues and the machine are doing, in figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import psutil
from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from app.core import job_stats, rollups, tallies
from app.core.models import Job, Worker
from app.core.sql import statement
from app.core.status import STATUSES
from app.core.tallies import Tallies, Tally

_RECENT_HOURS = 24
_MOST_WORKERS = 1000


@dataclass(frozen=True)
class Cleanup:
    """The retention's last run: when it ended and how many rows it removed."""

    ended_at: datetime | None
    rows_removed: int


def last_cleanup(session: Session) -> Cleanup:
    """The last one; without a time when there was none."""
    row = session.execute(statement("queue_stats", "last_cleanup")).one()
    return Cleanup(row.ended_at, row.rows_removed)


@dataclass(frozen=True)
class Machine:
    """What this machine is busy with."""

    cpu_percent: float
    memory_mb: float


def machine() -> Machine:
    """The processors since the last call, and the memory in use."""
    return Machine(psutil.cpu_percent(), round(psutil.virtual_memory().used / 2**20, 1))


machine()  # the first measurement only begins one


@dataclass(frozen=True)
class QueueFigures:
    """A queue: what it holds now, since when the job that waits longest has been due, its last 24 hours."""

    name: str
    counts: dict[str, int]
    oldest_due_at: datetime | None
    completed_24h: int
    failed_24h: int
    average_wait_seconds: float | None
    average_run_seconds: float | None
    p95_run_seconds: float | None


def count_recent(session: Session, owner_name: str | None = None) -> Tallies:
    """What ended in the last 24 hours, by queue."""
    return tallies.count(
        session,
        "queue",
        since=datetime.now(UTC) - timedelta(hours=_RECENT_HOURS),
        owner_name=owner_name,
        histograms_of=("completed",),
    )


def queues(
    session: Session,
    owner_name: str | None = None,
    *,
    also: Iterable[str] = (),
    ever: Tallies | None = None,
    recent: Tallies | None = None,
) -> list[QueueFigures]:
    """Every queue that ever had a job, and those of `also`, by name.

    `ever` (all jobs by queue, with what waits) and `recent` (as `count_recent` has it) are counted where
    they are not given.
    """
    if ever is None:
        ever = tallies.count(session, "queue", owner_name=owner_name, with_waiting=True)
    if recent is None:
        recent = count_recent(session, owner_name)
    every = sorted({*also, *ever})
    return [_figures(name, ever.get(name, {}), recent.get(name, {})) for name in every]


def totals(figures: Iterable[QueueFigures]) -> job_stats.Totals:
    """All jobs that the queues hold or held: every job has a queue."""
    held = [each.counts for each in figures]
    sums = {status: sum(counts[status] for counts in held) for status in STATUSES}
    return job_stats.Totals(sum(sums.values()), sums)


def _figures(name: str, ever: dict[str, Tally], recent: dict[str, Tally]) -> QueueFigures:
    done, failed = recent.get("completed", Tally()), recent.get("failed", Tally())
    waits = sum(tally.waits for tally in recent.values())
    p95 = rollups.percentile(done.histogram, 0.95, done.min_run_ms, done.max_run_ms)
    return QueueFigures(
        name=name,
        counts=job_stats.shown(ever),
        oldest_due_at=tallies.oldest_due_at(ever.values()),
        completed_24h=done.jobs,
        failed_24h=failed.jobs,
        average_wait_seconds=_mean(sum(tally.wait_ms for tally in recent.values()), waits),
        average_run_seconds=_mean(done.run_ms, done.runs),
        p95_run_seconds=None if p95 is None else round(p95, 3),
    )


def _mean(milliseconds: int, count: int) -> float | None:
    return round(milliseconds / count / 1000, 3) if count else None


def count_active_workers(session: Session, stale_seconds: float) -> int:
    """Workers that were heard of lately."""
    heard_since = func.clock_timestamp() - timedelta(seconds=stale_seconds)
    return session.scalars(
        select(func.count()).where(
            Worker.kind == "worker",
            Worker.stopped_at.is_(None),
            Worker.last_heartbeat_at > heard_since,
        )
    ).one()


def list_workers(session: Session) -> Sequence[Worker]:
    """Processes that live, or ended in the last 24 hours; the latest started first."""
    since = func.clock_timestamp() - timedelta(hours=_RECENT_HOURS)
    return session.scalars(
        select(Worker)
        .where(or_(Worker.stopped_at.is_(None), Worker.stopped_at > since))
        .order_by(Worker.stopped_at.is_not(None), Worker.started_at.desc(), Worker.id)
        .limit(_MOST_WORKERS)
    ).all()


def types_of(session: Session, job_ids: Sequence[int], owner_name: str | None) -> dict[int, str]:
    """The tasks of those of the jobs that are the user's, or (None) of all of them, by their ids."""
    if not job_ids:
        return {}
    jobs = select(Job.id, Job.task).where(Job.id.in_(job_ids))
    if owner_name is not None:
        jobs = jobs.where(Job.owner_name == owner_name)
    return {row.id: row.task for row in session.execute(jobs)}


def owned(session: Session, job_ids: Sequence[int], owner_name: str | None) -> set[int]:
    """Those of the jobs that are the user's, or (None) all of them."""
    if owner_name is None or not job_ids:
        return set(job_ids)
    jobs = select(Job.id).where(Job.id.in_(job_ids), Job.owner_name == owner_name)
    return set(session.scalars(jobs))
