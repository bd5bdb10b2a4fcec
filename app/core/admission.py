"""What keeps a job of ours waiting although its turn has come: a paused queue, a limit of what runs.

The fetch itself obeys (sql/fetch.sql); nothing is stored with a job. Here it is told, and those who
plan ahead leave out what would not be fetched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import queue, queue_pauses
from app.core.models import Batch, Job
from app.core.settings import Settings
from app.core.sql import statement

# What counts as running: batches in the engine and tasks, not the validation of a file.
LIMITED_QUEUES = (queue.TASKS, queue.model_queue("%"))


@dataclass(frozen=True)
class Holds:
    """What is fetched from no queue at this moment, or for no user; a limit of 0 is none."""

    pauses: Mapping[str, queue_pauses.Pause]
    running: Mapping[str | None, int]
    per_user: int
    overall: int

    @property
    def is_full(self) -> bool:
        """Whether nothing may start anywhere."""
        return 0 < self.overall <= sum(self.running.values())

    @property
    def crowded(self) -> list[str]:
        """The users who have as much running as one may."""
        return [
            name
            for name, jobs in self.running.items()
            if name is not None and 0 < self.per_user <= jobs
        ]

    def reason(
        self, queue_name: str, owner_name: str | None, *, names_owner: bool = True
    ) -> str | None:
        """Why a job that waits in a queue is not fetched, in words; None: it is only not its turn."""
        pause = self.pauses.get(queue_name)
        if pause is not None:
            since = f"{pause.paused_at:%Y-%m-%d %H:%M} UTC"
            return (
                f"waits: {queue_name} is paused by {pause.paused_by} since {since}: {pause.reason}"
            )
        if not _is_limited(queue_name):
            return None
        if self.is_full:
            return f"waits: {sum(self.running.values())} jobs run, which is the limit"
        if owner_name in self.crowded:
            jobs = self.running[owner_name]
            whose = f"{owner_name}'s" if names_owner else "its owner's"
            return f"waits: {jobs} of {whose} jobs run, which is the limit"
        return None


def read(session: Session, settings: Settings) -> Holds:
    """What holds now."""
    limited = list(LIMITED_QUEUES)
    running = session.execute(statement("admission", "running"), {"limited": limited})
    return Holds(
        pauses=queue_pauses.by_queue(session),
        running={row.owner_name: row.jobs for row in running},
        per_user=settings.user_concurrent_jobs,
        overall=settings.concurrent_jobs,
    )


def reasons(session: Session, settings: Settings, jobs: Iterable[Any]) -> dict[int, str]:
    """Why some of these jobs are not fetched although they are due, by their ids."""
    now = datetime.now(UTC)
    waiting = [
        job
        for job in jobs
        if job.status in ("pending", "retrying")
        and (job.scheduled_at is None or job.scheduled_at <= now)
    ]
    if not waiting:
        return {}
    holds = read(session, settings)
    found = {job.id: holds.reason(job.queue, job.owner_name) for job in waiting}
    return {job_id: reason for job_id, reason in found.items() if reason is not None}


def batch_reasons(session: Session, settings: Settings, batches: Sequence[Batch]) -> dict[str, str]:
    """The same of batches, by theirs."""
    ids = {
        batch.job_id: batch.id for batch in batches if batch.status in ("validating", "in_progress")
    }
    if not ids:
        return {}
    jobs = session.scalars(select(Job).where(Job.id.in_(ids), Job.ended_at.is_(None)))
    return {ids[job_id]: why for job_id, why in reasons(session, settings, jobs).items()}


def queue_reasons(
    session: Session, settings: Settings, found: queue.Queue, owner_id: int | None
) -> dict[str, str]:
    """The same of the batches that wait in the whole queue.

    Whoever sees only what is `owner_id`'s own (None: all) is not told whose the others are.
    """
    waiting = [row for row in found.waiting if row.status in ("validating", "in_progress")]
    if not waiting:
        return {}
    holds = read(session, settings)
    reasons = {}
    for row in waiting:
        is_validated = row.status == "in_progress"
        why = holds.reason(
            queue.model_queue(row.model or "") if is_validated else queue.BATCHES,
            row.owner_name,
            names_owner=owner_id in (None, row.owner_id),
        )
        if why is not None and not row.is_held:
            reasons[row.id] = why
    return reasons


def _is_limited(queue_name: str) -> bool:
    return queue_name == queue.TASKS or queue_name.startswith(queue.model_queue(""))
