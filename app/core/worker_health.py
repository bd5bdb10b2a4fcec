"""How the worker is, in one look: alive, since when, how often it was started, what its GPU says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core import queue
from app.core.models import Worker


@dataclass(frozen=True)
class Health:
    """Of the worker that was heard of last; without one, nothing is known."""

    is_alive: bool = False
    last_heartbeat_at: datetime | None = None
    heartbeat_age_seconds: float | None = None
    uptime_seconds: float | None = None
    restart_count: int = 0
    loaded_model: str | None = None
    gpu_memory_percent: float | None = None
    gpu_utilization: float | None = None
    gpu_temperature: float | None = None
    cpu_percent: float | None = None
    memory_percent: float | None = None
    engine_error: str | None = None


def look(session: Session, stale_seconds: float) -> Health:
    """By the database's clock, which wrote the heartbeats.

    `restart_count` counts the worker's earlier starts on its machine, as long as they are remembered
    (`STOKER_WORKER_DAYS`). Uptime, model, engine, GPU and machine are those of a worker that lives.
    """
    worker = queue.live_worker(session)
    if worker is None:
        return Health()
    now: datetime = session.scalars(select(func.clock_timestamp())).one()
    age = max(0.0, (now - worker.last_heartbeat_at).total_seconds())
    heard = Health(
        last_heartbeat_at=worker.last_heartbeat_at,
        heartbeat_age_seconds=round(age, 1),
        restart_count=_earlier_starts(session, worker),
    )
    if worker.stopped_at is not None or age > stale_seconds:
        return heard
    return Health(
        is_alive=True,
        last_heartbeat_at=heard.last_heartbeat_at,
        heartbeat_age_seconds=heard.heartbeat_age_seconds,
        restart_count=heard.restart_count,
        uptime_seconds=round((now - worker.started_at).total_seconds(), 1),
        loaded_model=worker.current_model,
        gpu_memory_percent=_number(worker.metrics.get("gpu_memory_percent")),
        gpu_utilization=_number(worker.metrics.get("gpu_utilization")),
        gpu_temperature=_number(worker.metrics.get("gpu_temperature")),
        cpu_percent=_number(worker.metrics.get("host_cpu_percent")),
        memory_percent=_number(worker.metrics.get("host_memory_percent")),
        engine_error=worker.engine_error,
    )


def _earlier_starts(session: Session, worker: Worker) -> int:
    return session.scalars(
        select(func.count()).where(
            Worker.kind == "worker",
            Worker.host == worker.host,
            Worker.started_at < worker.started_at,
        )
    ).one()


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
