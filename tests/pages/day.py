"""Half a day of jobs to look at: made-up, but as a server with five kinds of work would have them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import insert, text
from sqlalchemy.orm import Session

from app.core.models import Attempt, Job, JobSearch, JobTransition, WorkerSample
from app.core.samples import PERIOD_SECONDS

_HOURS = 12
_ERRORS = (
    ("OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.40 GiB"),
    ("ConnectionError", "the object store did not answer"),
    ("ValueError", "line 1,204 has no prompt"),
)


@dataclass(frozen=True)
class Kind:
    """A type of job: how often it comes, and how long it takes."""

    task: str
    queue: str
    every_minutes: float
    minutes: tuple[float, float]
    fails: float
    model: str | None = None
    is_alone: bool = False


KINDS = (
    Kind("run_batch", "model:gemma-3-4b", 34, (14, 42), 0.08, "gemma-3-4b"),
    Kind("run_batch", "model:qwen3-8b", 47, (12, 30), 0.1, "qwen3-8b"),
    Kind("export", "tasks", 21, (1, 9), 0.07),
    Kind("batch_audit", "tasks", 75, (10, 32), 0.12),
    Kind("backup", "tasks", 60, (4, 9), 0.05, is_alone=True),
    Kind("cleanup", "tasks", 45, (0.4, 3), 0.04, is_alone=True),
)


def fill(session: Session) -> None:
    """Write it, always the same but for the time of day; commits."""
    now = datetime.now(UTC)
    chance = random.Random(11)
    number = 4200
    begun: list[tuple[datetime, Kind, float]] = []
    for kind in KINDS:
        at = now - timedelta(hours=_HOURS)
        while at < now:
            long = kind.every_minutes * (1 if kind.is_alone else chance.uniform(0.4, 1.6))
            at += timedelta(minutes=long)
            begun.append((at, kind, chance.uniform(*kind.minutes)))
    for at, kind, minutes in sorted(begun, key=lambda each: each[0]):
        number += 1
        _job(session, chance, number, kind, at, minutes, now)
    _samples(session, [(at, kind, minutes) for at, kind, minutes in begun if kind.model], now)
    session.execute(text("INSERT INTO dirty_hour SELECT DISTINCT date_trunc('hour', ended_at, 'UTC')"
                         " FROM job WHERE ended_at IS NOT NULL ON CONFLICT DO NOTHING"))  # fmt: skip
    session.commit()


def _job(
    session: Session,
    chance: random.Random,
    number: int,
    kind: Kind,
    began: datetime,
    minutes: float,
    now: datetime,
) -> None:
    wait = timedelta(minutes=chance.choice((0.05, 0.2, 1.5, 4)))
    ended: datetime | None = began + timedelta(minutes=minutes)
    status = "failed" if chance.random() < kind.fails else "completed"
    if began > now:
        return
    if ended is not None and ended > now:
        ended, status = None, "running"
    error = chance.choice(_ERRORS) if status == "failed" else (None, None)
    owner = chance.choice(("ada", "ben", "mia"))
    common: dict[str, Any] = {"task": kind.task, "queue": kind.queue, "worker_name": "gpu-1"}
    job = Job(
        id=number,
        created_at=began - wait,
        owner_name=owner,
        model=kind.model,
        arguments={"user": owner, "number": number},
        status=status,
        attempts=1,
        started_at=began,
        attempt_started_at=began,
        ended_at=ended,
        run_ms=int(((ended or now) - began).total_seconds() * 1000),
        wait_ms=int(wait.total_seconds() * 1000),
        progress=100 if status == "completed" else chance.randrange(5, 95),
        error_type=error[0],
        error_message=error[1],
        **common,
    )
    session.add(job)
    session.flush()
    session.add(
        Attempt(
            job_id=number,
            job_created_at=job.created_at,
            number=1,
            started_at=began,
            ended_at=ended,
            outcome=None if ended is None else status,
            error_type=error[0],
            error_message=error[1],
            host="gpu-1",
            pid=4711,
            **common,
        )
    )
    for before, after, moment in (("pending", "running", began), ("running", status, ended)):
        if moment is not None:
            session.add(
                JobTransition(
                    job_id=number,
                    job_created_at=job.created_at,
                    at=moment,
                    from_status=before,
                    to_status=after,
                )
            )
    words = " ".join(part.lower() for part in (str(number), kind.task, owner, *error) if part)
    session.add(JobSearch(job_id=number, job_created_at=job.created_at, words=words))


def _samples(session: Session, begun: list[tuple[datetime, Kind, float]], now: datetime) -> None:
    """A GPU that is busy while a batch runs; the model of the latest is loaded."""
    chance = random.Random(5)
    rows: list[dict[str, Any]] = []
    batches = sorted((at, at + timedelta(minutes=long), kind.model) for at, kind, long in begun)
    at = now - timedelta(hours=_HOURS)
    while at < now:
        at += timedelta(seconds=PERIOD_SECONDS)
        loaded = [model for begins_at, _, model in batches if begins_at <= at]
        busy = any(begins_at <= at < ends_at for begins_at, ends_at, _ in batches)
        rows.append(
            {
                "at": at,
                "worker_id": UUID(int=11),
                "host": "gpu-1",
                "model": loaded[-1] if loaded else None,
                "gpu_utilization": chance.uniform(82, 99) if busy else chance.uniform(0, 4),
                "gpu_memory_percent": chance.uniform(86, 89) if loaded else 2.0,
                "cpu_percent": chance.uniform(20, 40) if busy else chance.uniform(2, 8),
                "memory_percent": chance.uniform(31, 36),
                "worker_cpu_percent": chance.uniform(1, 3),
                "worker_memory_bytes": 210_000_000,
                "engine_cpu_percent": chance.uniform(12, 25) if busy else 0.4,
                "engine_memory_bytes": 6_400_000_000 if loaded else None,
            }
        )
    session.execute(insert(WorkerSample), rows)
