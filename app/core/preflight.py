"""Whether there is any use in submitting a batch now: a worker lives, its GPU is fit for work."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core import storage
from app.core.errors import Unavailable
from app.core.models import Worker
from app.core.settings import Settings

# A worker's figures are a few seconds old, and it may be started again at any moment.
_RETRY_SECONDS = 60
_LONGEST_LINE = 1 << 20


def check(session: Session, settings: Settings, input_file_id: str) -> None:
    """Raises Unavailable when the worker has been gone for too long, or says that it can't work.

    Where there never was a worker, everything is accepted: it may be about to start.
    """
    if settings.worker_gone_seconds:
        _require_worker(session, settings)
    heard_since = func.clock_timestamp() - timedelta(seconds=settings.worker_stale_seconds)
    metrics = session.scalars(
        select(Worker.metrics).where(
            Worker.kind == "worker",
            Worker.stopped_at.is_(None),
            Worker.last_heartbeat_at > heard_since,
        )
    ).all()
    hot = [_heat(settings, each) for each in metrics]
    if hot and all(hot):
        raise Unavailable(str(hot[0]), code="gpu_too_hot", retry_after_seconds=_RETRY_SECONDS)
    short = [_shortage(settings, each, input_file_id) for each in metrics]
    if short and all(short):
        raise Unavailable(str(short[0]), code="no_memory", retry_after_seconds=_RETRY_SECONDS)


def _require_worker(session: Session, settings: Settings) -> None:
    # Nobody can be heard while the server is down: silence counts from its start.
    heard_at = func.greatest(func.max(Worker.last_heartbeat_at), func.pg_postmaster_start_time())
    silent, workers = session.execute(
        select(func.clock_timestamp() - heard_at, func.count()).where(Worker.kind == "worker")
    ).one()
    if workers and silent > timedelta(seconds=settings.worker_gone_seconds):
        minutes = round(silent.total_seconds() / 60)
        raise Unavailable(
            f"The worker has been gone for {minutes} minute{'' if minutes == 1 else 's'}, so nothing "
            "would run: try again when it is back.",
            code="no_worker",
            retry_after_seconds=_RETRY_SECONDS,
        )


def _heat(settings: Settings, metrics: dict[str, Any]) -> str | None:
    celsius, most = metrics.get("gpu_temperature"), settings.gpu_max_celsius
    if celsius is None or not most or celsius < most:
        return None
    return f"The GPU has {celsius:g} °C, and from {most} °C on no batch is accepted."


def _shortage(settings: Settings, metrics: dict[str, Any], input_file_id: str) -> str | None:
    """A worker that could not load a model for want of memory says so as long as that is true."""
    short = metrics.get("short_of_memory")
    if not short or _first_model(storage.path(settings, input_file_id)) != short["model"]:
        return None
    return str(short["message"])


def _first_model(path: Path) -> str | None:
    """The model of a file's first request, which is that of all; what can't be read has none."""
    try:
        with path.open("rb") as file:
            return str(json.loads(file.readline(_LONGEST_LINE))["body"]["model"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
