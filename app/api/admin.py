"""/admin: how the worker is and what it printed, for operators, in an earlier system's words."""

from __future__ import annotations

from datetime import datetime

from flask import Blueprint

from app.api.openapi import Answer, Limit, Query, describe, read_query
from app.auth import needs
from app.core import worker_health, worker_log
from app.extensions import current_settings, db

blueprint = Blueprint("admin", __name__, url_prefix="/admin")


class WorkerStatus(Answer):
    """The worker that was heard of last. What isn't known, as of a GPU that is absent, is null."""

    healthy: bool
    last_heartbeat: datetime | None
    heartbeat_age_seconds: float | None
    uptime_seconds: float | None
    restart_count: int
    loaded_model: str | None
    gpu_memory_percent: float | None
    gpu_utilization: float | None
    gpu_temperature: float | None


class LogQuery(Query):
    """How much of the log."""

    tail: Limit(500, 10_000)  # type: ignore[valid-type]


class WorkerLog(Answer):
    """The log's last lines, how many are kept in all, and how many of the given ones are bad."""

    logs: str
    total_lines: int
    error_count: int
    warning_count: int


@blueprint.get("/worker/status")
@needs("operate")
@describe(answer=WorkerStatus)
def show_worker_status() -> WorkerStatus:
    """Whether the worker lives, since when, and what it has loaded."""
    health = worker_health.look(db.session(), current_settings().worker_stale_seconds)
    return WorkerStatus(
        healthy=health.is_alive,
        last_heartbeat=health.last_heartbeat_at,
        heartbeat_age_seconds=health.heartbeat_age_seconds,
        uptime_seconds=health.uptime_seconds,
        restart_count=health.restart_count,
        loaded_model=health.loaded_model,
        gpu_memory_percent=health.gpu_memory_percent,
        gpu_utilization=health.gpu_utilization,
        gpu_temperature=health.gpu_temperature,
    )


@blueprint.get("/worker-logs/content")
@needs("operate")
@describe(query=LogQuery, answer=WorkerLog)
def show_worker_log() -> WorkerLog:
    """The last lines that the worker of this data folder printed."""
    tail = worker_log.tail(current_settings(), read_query(LogQuery).tail)
    return WorkerLog(
        logs="".join(line + "\n" for line in tail.lines),
        total_lines=tail.total_lines,
        error_count=tail.error_count,
        warning_count=tail.warning_count,
    )
