"""The processes that work."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, REAL, BigInteger, Index, Text, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core.models.base import Base, CreatedAt


class Worker(Base):
    """A process that works: a row it keeps fresh while it lives."""

    __tablename__ = "worker"
    __table_args__ = (Index("worker_heartbeat_idx", "last_heartbeat_at"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str]
    name: Mapped[str]
    host: Mapped[str]
    pid: Mapped[int]
    status: Mapped[str]
    started_at: Mapped[CreatedAt]
    last_heartbeat_at: Mapped[CreatedAt]
    stopped_at: Mapped[datetime | None]
    current_model: Mapped[str | None]
    engine_status: Mapped[str | None]
    engine_error: Mapped[str | None]
    running_job_ids: Mapped[list[int]] = mapped_column(
        ARRAY(BigInteger), server_default=text("'{}'")
    )
    queue_worker_ids: Mapped[list[int]] = mapped_column(
        ARRAY(BigInteger), server_default=text("'{}'")
    )
    models: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    metrics: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))


class WorkerSample(Base):
    """What a worker said of its machine, its engine and itself at a moment; percentages are of all of it.

    Its worker may be forgotten before it.
    """

    __tablename__ = "worker_sample"

    at: Mapped[datetime] = mapped_column(primary_key=True, server_default=func.clock_timestamp())
    worker_id: Mapped[UUID] = mapped_column(primary_key=True)
    host: Mapped[str]
    model: Mapped[str | None]
    cpu_percent: Mapped[float | None] = mapped_column(REAL)
    memory_percent: Mapped[float | None] = mapped_column(REAL)
    gpu_utilization: Mapped[float | None] = mapped_column(REAL)
    gpu_memory_percent: Mapped[float | None] = mapped_column(REAL)
    worker_cpu_percent: Mapped[float | None] = mapped_column(REAL)
    worker_memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    engine_cpu_percent: Mapped[float | None] = mapped_column(REAL)
    engine_memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
