"""The processes that work."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, Index, Text, text
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
