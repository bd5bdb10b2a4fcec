"""Statistics over jobs of any kind: by type in a window, and of all time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from app.core import rollups, tallies
from app.core.status import STATUSES
from app.core.tallies import Tallies, Tally

SLOW_SECONDS = 60.0


@dataclass(frozen=True)
class TaskStats:
    """One type's runs: those that ended in the window, and those that run now.

    Durations are of completed runs; `success_rate` is 0..1 over completed and failed ones. Both are
    None where there is nothing to judge.
    """

    job_type: str
    total_runs: int
    completed_runs: int
    failed_runs: int
    running_runs: int
    success_rate: float | None
    avg_duration_seconds: float | None
    min_duration_seconds: float | None
    max_duration_seconds: float | None
    p50_seconds: float | None
    p95_seconds: float | None
    last_run: datetime | None
    last_status: str | None

    @property
    def is_slow(self) -> bool:
        """Whether its runs take over a minute on average."""
        return self.avg_duration_seconds is not None and self.avg_duration_seconds > SLOW_SECONDS


def by_task(
    session: Session, *, hours: float | None, owner_name: str | None = None
) -> list[TaskStats]:
    """Every type that ran in the last `hours` (None: ever), in the order of their names."""
    since = None if hours is None else datetime.now(UTC) - timedelta(hours=hours)
    return by_task_between(session, since=since, until=None, owner_name=owner_name)


def by_task_between(
    session: Session,
    *,
    since: datetime | None,
    until: datetime | None,
    owner_name: str | None = None,
) -> list[TaskStats]:
    """Every type that ended in a window, or runs now, in the order of their names."""
    found = tallies.count(
        session,
        "task",
        since=since,
        until=until,
        owner_name=owner_name,
        histograms_of=("completed",),
    )
    stats = (_stats(task, by_status) for task, by_status in sorted(found.items()))
    return [each for each in stats if each.total_runs]


def _stats(task: str, by_status: Mapping[str, Tally]) -> TaskStats:
    done = by_status.get("completed", Tally())
    failed = by_status.get("failed", Tally())
    running = by_status.get("running", Tally())
    latest = max(
        (
            (tally.last_started_at, status)
            for status, tally in by_status.items()
            if tally.last_started_at is not None
        ),
        default=(None, None),
    )
    judged = done.runs + failed.runs
    return TaskStats(
        job_type=task,
        total_runs=sum(tally.runs for tally in by_status.values()) + running.jobs,
        completed_runs=done.runs,
        failed_runs=failed.runs,
        running_runs=running.jobs,
        success_rate=round(done.runs / judged, 4) if judged else None,
        avg_duration_seconds=round(done.run_ms / done.runs / 1000, 3) if done.runs else None,
        min_duration_seconds=_seconds(done.min_run_ms),
        max_duration_seconds=_seconds(done.max_run_ms),
        p50_seconds=_percentile(done, 0.5),
        p95_seconds=_percentile(done, 0.95),
        last_run=latest[0],
        last_status=latest[1],
    )


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _percentile(tally: Tally, share: float) -> float | None:
    found = rollups.percentile(tally.histogram, share, tally.min_run_ms, tally.max_run_ms)
    return None if found is None else round(found, 3)


@dataclass(frozen=True)
class Totals:
    """How many jobs there are: in all, and by status as it is shown."""

    total: int
    by_status: Mapping[str, int]


def totals(session: Session, owner_name: str | None = None) -> Totals:
    """All jobs, counted exactly; a status that no job has is 0."""
    by_status = shown_counts(session, "status", owner_name).values()
    sums = {status: sum(counts[status] for counts in by_status) for status in STATUSES}
    return Totals(sum(sums.values()), sums)


def shown_counts(
    session: Session, dimension: str, owner_name: str | None = None
) -> dict[str, dict[str, int]]:
    """All jobs by a dimension's name (task, queue, model or status) and by status as it is shown."""
    found = tallies.count(session, dimension, owner_name=owner_name, with_waiting=True)
    return {name: shown(by_status) for name, by_status in found.items()}


def shown(by_status: Mapping[str, Tally]) -> dict[str, int]:
    """Tallies, with what waits, as counts by status as it is shown."""
    pending = by_status.get("pending", Tally())
    counts = dict.fromkeys(STATUSES, 0)
    counts.update({status: tally.jobs for status, tally in by_status.items()})
    return {**counts, "pending": pending.jobs - pending.later, "scheduled": pending.later}


@dataclass(frozen=True)
class Overview:
    """All time: by status and by type, and how the queue is doing."""

    by_status: Mapping[str, int]
    by_task: Mapping[str, int]
    average_duration_seconds: float | None
    oldest_pending_job_age_seconds: float | None

    @property
    def total_jobs(self) -> int:
        """All of them."""
        return sum(self.by_task.values())


def overview(session: Session, owner_name: str | None = None) -> Overview:
    """Every job there is; the average is of completed runs, the age of the job longest due."""
    found: Tallies = tallies.count(session, "task", owner_name=owner_name, with_waiting=True)
    done = [by_status["completed"] for by_status in found.values() if "completed" in by_status]
    runs = sum(tally.runs for tally in done)
    oldest = tallies.oldest_due_at(
        tally for by_status in found.values() for tally in by_status.values()
    )
    by_task = {task: shown(tallies_) for task, tallies_ in found.items()}
    by_status: dict[str, int] = {}
    for counts in by_task.values():
        for status, jobs in counts.items():
            by_status[status] = by_status.get(status, 0) + jobs
    return Overview(
        by_status=by_status,
        by_task={task: sum(counts.values()) for task, counts in sorted(by_task.items())},
        average_duration_seconds=(
            round(sum(tally.run_ms for tally in done) / runs / 1000, 3) if runs else None
        ),
        oldest_pending_job_age_seconds=(
            None
            if oldest is None
            else round(max(0.0, (datetime.now(UTC) - oldest).total_seconds()), 3)
        ),
    )
