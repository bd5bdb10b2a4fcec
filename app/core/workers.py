"""Workers: rows that live processes keep fresh, and what to do when one falls silent."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, false, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.core.models import Worker


@dataclass
class Pulse:
    """What a worker says of itself with each heartbeat."""

    id: UUID
    kind: str
    name: str
    status: str = "starting"
    current_model: str | None = None
    engine_status: str | None = None
    engine_error: str | None = None
    running_job_ids: Sequence[int] = ()
    queue_worker_ids: Sequence[int] = ()
    models: Sequence[str] = ()
    metrics: dict[str, Any] = field(default_factory=dict)


def beat(session: Session, pulse: Pulse) -> None:
    """Insert or refresh the worker's row; commits."""
    values = {
        "status": pulse.status,
        "current_model": pulse.current_model,
        "engine_status": pulse.engine_status,
        "engine_error": pulse.engine_error,
        "running_job_ids": list(pulse.running_job_ids),
        "queue_worker_ids": list(pulse.queue_worker_ids),
        "models": list(pulse.models),
        "metrics": {
            **pulse.metrics,
            "process_space": process_space(),
            "process_ticks": own.ticks if (own := _look_at(os.getpid())) else None,
        },
        "last_heartbeat_at": func.clock_timestamp(),
        "stopped_at": None,
    }
    row = insert(Worker).values(
        id=pulse.id,
        kind=pulse.kind,
        name=pulse.name,
        host=socket.gethostname(),
        pid=os.getpid(),
        **values,
    )
    session.execute(row.on_conflict_do_update(index_elements=["id"], set_=values))
    session.commit()


def find(session: Session, pid: int) -> Worker | None:
    """The living worker of that process number beside us."""
    return session.scalar(
        select(Worker)
        .where(Worker.kind == "worker", Worker.pid == pid, Worker.stopped_at.is_(None))
        .where(_is_near())
        .order_by(Worker.started_at.desc())
        .limit(1)
    )


def say_goodbye(session: Session, worker_id: UUID) -> None:
    """Mark a worker as stopped in order; commits."""
    session.execute(
        update(Worker)
        .where(Worker.id == worker_id)
        .values(status="stopped", stopped_at=func.clock_timestamp(), running_job_ids=[])
    )
    session.commit()


@cache
def process_space() -> str | None:
    """Names what this process's number counts in: the kernel's start and the pid namespace.

    Containers may share a host name and each have a process of the same number.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None


def _is_near() -> ColumnElement[bool]:
    """Whether a worker's process number means the same process here."""
    space = process_space()
    return false() if space is None else Worker.metrics["process_space"].astext == space


class Hearing:
    """Since when the database has answered without a gap: before that nobody could be heard."""

    def __init__(self, gap_seconds: float) -> None:
        self._gap_seconds = gap_seconds
        self._last = self._since = -math.inf

    def seconds(self) -> float:
        """How long; to be called whenever the database has answered."""
        now = time.monotonic()
        if now - self._last > self._gap_seconds:
            self._since = now
        self._last = now
        return now - self._since


def mark_lost(
    session: Session, stale_seconds: float, hearing: Hearing | None = None
) -> list[Worker]:
    """Mark workers as lost that fell silent, or whose process is seen to be gone.

    With `hearing`, silence counts only when the database was there to be told all the time.
    """
    # Nobody can be heard while the server is down: silence counts from its start.
    heard_at = func.greatest(Worker.last_heartbeat_at, func.pg_postmaster_start_time())
    is_silent = heard_at < func.clock_timestamp() - timedelta(seconds=stale_seconds)
    rows = session.execute(
        select(Worker, is_silent, _is_near())
        .where(Worker.stopped_at.is_(None), is_silent | _is_near())
        .with_for_update(skip_locked=True)
    ).all()
    # Asked after the rows have come: it may be now that the database was away.
    has_heard = hearing is None or hearing.seconds() >= stale_seconds
    lost = [
        worker
        for worker, silent, near in rows
        if (silent and has_heard) or (near and not _has_process(worker))
    ]
    for worker in lost:
        worker.status = "lost"
        worker.stopped_at = session.scalar(select(func.clock_timestamp()))
    session.flush()
    return lost


def _has_process(worker: Worker) -> bool:
    """Whether the process of a worker in our own process space is still there."""
    found = _look_at(worker.pid)
    if found is None or found.state in ("Z", "X"):
        return False
    # Another process may have got its number.
    return worker.metrics.get("process_ticks") in (found.ticks, None)


class _Process(NamedTuple):
    """The kernel's letter for its state, and when it began: in ticks, which no clock can change."""

    state: str
    ticks: int


def _look_at(pid: int) -> _Process | None:
    try:
        # The name, in brackets, may have anything in it.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return _Process(fields[0], int(fields[19]))
    except (OSError, ValueError, IndexError):
        return None
