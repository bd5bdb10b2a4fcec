"""Jobs as the platform's administration sees them: what is active, waits, is done or has failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session, defer

from app.core import job_stats
from app.core.models import Job
from app.core.sql import statement
from app.core.status import has_status

# A type whose runs use more than that, on average, is called resource intensive.
INTENSIVE_CPU_PERCENT = 80.0
INTENSIVE_MEMORY_MB = 1024.0

_STATUSES = {
    "active": ("running",),
    "pending": ("pending", "retrying"),
    "completed": ("completed",),
    "failed": ("failed",),
}
_STATS_HOURS = 30 * 24
_USAGE_RUNS = 20_000


def list_jobs(session: Session, kind: str, *, owner_name: str | None, limit: int) -> Sequence[Job]:
    """Jobs that are active, pending (the oldest first), completed or failed (the newest first)."""
    is_waiting = kind == "pending"
    order = (Job.created_at, Job.id) if is_waiting else (Job.created_at.desc(), Job.id.desc())
    # The list says nothing of what may be large; only of what is open, the arguments.
    unread = [Job.result] if kind in ("active", "pending") else [Job.result, Job.arguments]
    found: list[Job] = []
    for status in _STATUSES[kind]:
        jobs = select(Job).where(has_status(status)).order_by(*order).limit(limit)
        jobs = jobs.options(*(defer(column, raiseload=True) for column in unread))
        if owner_name is not None:
            jobs = jobs.where(Job.owner_name == owner_name)
        found += session.scalars(jobs)
    found.sort(key=lambda job: (job.created_at, job.id), reverse=not is_waiting)
    return found[:limit]


@dataclass(frozen=True)
class Performance:
    """How one type's runs of the last 30 days did, and what its latest ones used."""

    stats: job_stats.TaskStats
    cpu_percent: float | None
    memory_mb: float | None

    @property
    def is_intensive(self) -> bool:
        """Whether it takes more than its share."""
        return (self.cpu_percent or 0) > INTENSIVE_CPU_PERCENT or (
            self.memory_mb or 0
        ) > INTENSIVE_MEMORY_MB


def performance(session: Session, owner_name: str | None) -> list[Performance]:
    """Every type that ran in the last 30 days, by name."""
    stats = job_stats.by_task(session, hours=_STATS_HOURS, owner_name=owner_name)
    asked = {"owner_name": owner_name, "most": _USAGE_RUNS}
    used = {row.task: row for row in session.execute(statement("job_stats", "usage"), asked)}
    found = []
    for each in stats:
        usage = used.get(each.job_type)
        cpu, memory = (usage.cpu_percent, usage.memory_mb) if usage else (None, None)
        found.append(
            Performance(
                each,
                None if cpu is None else round(cpu, 1),
                None if memory is None else round(memory, 1),
            )
        )
    return found
