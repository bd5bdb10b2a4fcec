"""What operators decide about queues."""

from __future__ import annotations

from sqlalchemy.orm import Mapped, mapped_column

from app.core.models.base import Base, CreatedAt


class QueuePause(Base):
    """A queue from which no worker of ours fetches until somebody resumes it."""

    __tablename__ = "queue_pause"

    queue: Mapped[str] = mapped_column(primary_key=True)
    paused_at: Mapped[CreatedAt]
    paused_by: Mapped[str]
    reason: Mapped[str]
