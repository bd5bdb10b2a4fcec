"""What Procrastinate does not keep: attempts, their log lines, and the workers that made them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, Identity, Index, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core.models.base import Base, CreatedAt


class Attempt(Base):
    """One try of a job. `token` fences what it writes; `outcome` is null while it runs."""

    __tablename__ = "attempt"
    __table_args__ = (
        Index("attempt_job_idx", "job_id", "number", unique=True),
        Index("attempt_open_idx", "worker_id", postgresql_where=text("outcome IS NULL")),
        CheckConstraint("(outcome IS NULL) = (ended_at IS NULL)", name="ended"),
    )

    token: Mapped[UUID] = mapped_column(primary_key=True)
    job_id: Mapped[int]
    task: Mapped[str]
    number: Mapped[int]
    worker_id: Mapped[UUID]
    started_at: Mapped[CreatedAt]
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str | None]
    error_type: Mapped[str | None]
    error_message: Mapped[str | None]
    traceback: Mapped[str | None]


class LogLine(Base):
    """What an attempt had to say."""

    __tablename__ = "log_line"
    __table_args__ = (
        Index("log_line_job_idx", "job_id", "id"),
        Index(
            "log_line_batch_idx",
            "batch_number",
            "id",
            postgresql_where=text("batch_number IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    job_id: Mapped[int]
    batch_number: Mapped[int | None]
    at: Mapped[CreatedAt]
    level: Mapped[str]
    message: Mapped[str]
    context: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))


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
