"""`flask workers`: the processes that work, and how they are."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import click
from sqlalchemy import func, select

from app.cli.output import CommandGroup, as_json_option, show
from app.core import queue_stats
from app.core.models import Worker
from app.extensions import current_settings, db


class _Workers(CommandGroup):
    """`flask workers` alone is `flask workers list`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        names_command = any(arg in self.commands for arg in args) or "--help" in args
        return super().parse_args(ctx, args if names_command else ["list", *args])


workers_group = _Workers("workers", help="The processes that work.")

_COLUMNS = (
    "name",
    "status",
    "host",
    "pid",
    "model",
    "jobs",
    "heartbeat",
    "cpu",
    "memory",
    "gpu",
)


@workers_group.command("list")
@as_json_option
def list_command(as_json: bool) -> None:
    """Those that live, or ended in the last 24 hours."""
    session = db.session()
    now: datetime = session.scalars(select(func.clock_timestamp())).one()
    stale_seconds = current_settings().worker_stale_seconds
    rows = [_described(worker, now, stale_seconds) for worker in queue_stats.list_workers(session)]
    if as_json:
        click.echo(json.dumps(rows))
    else:
        show([_row(row) for row in rows], _COLUMNS, as_json=False)


def _described(worker: Worker, now: datetime, stale_seconds: float) -> dict[str, Any]:
    age = max(0.0, (now - worker.last_heartbeat_at).total_seconds())
    metrics = worker.metrics
    return {
        "name": worker.name,
        "kind": worker.kind,
        "status": worker.status,
        "is_stale": worker.stopped_at is None and age > stale_seconds,
        "host": worker.host,
        "pid": worker.pid,
        "current_model": worker.current_model,
        "engine_status": worker.engine_status,
        "engine_error": worker.engine_error,
        "running_job_ids": worker.running_job_ids,
        "heartbeat_age_seconds": round(age, 1),
        "started_at": worker.started_at.isoformat(),
        "stopped_at": None if worker.stopped_at is None else worker.stopped_at.isoformat(),
        "host_cpu_percent": metrics.get("host_cpu_percent"),
        "host_memory_percent": metrics.get("host_memory_percent"),
        "memory_bytes": metrics.get("memory_bytes"),
        "gpu_memory_percent": metrics.get("gpu_memory_percent"),
        "gpu_utilization": metrics.get("gpu_utilization"),
        "gpu_temperature": metrics.get("gpu_temperature"),
    }


def _row(row: dict[str, Any]) -> dict[str, Any]:
    """What fits on a screen."""
    return {
        "name": row["name"],
        "status": f"STALE ({row['status']})" if row["is_stale"] else row["status"],
        "host": row["host"],
        "pid": row["pid"],
        "model": row["current_model"],
        "jobs": row["running_job_ids"] or None,
        "heartbeat": f"{row['heartbeat_age_seconds']:.0f} s ago",
        "cpu": _percent(row["host_cpu_percent"]),
        "memory": _percent(row["host_memory_percent"]),
        "gpu": _gpu(row),
    }


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{value:.0f} %"


def _gpu(row: dict[str, Any]) -> str | None:
    temperature = row["gpu_temperature"]
    parts = [
        (_percent(row["gpu_utilization"]), "busy"),
        (_percent(row["gpu_memory_percent"]), "memory"),
        (None if temperature is None else f"{temperature:.0f} °C", ""),
    ]
    said = ", ".join(f"{value} {word}".strip() for value, word in parts if value is not None)
    return said or None
