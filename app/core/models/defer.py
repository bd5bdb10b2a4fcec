"""What was said when a job was deferred: on which jobs it depends, and the key of the request."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index, PrimaryKeyConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.core.models.base import Base, CreatedAt


class JobDependency(Base):
    """The job `job_id` may run when the job `needs_id` has completed, which it has since `met_at`."""

    __tablename__ = "job_dependency"
    __table_args__ = (
        PrimaryKeyConstraint("job_id", "needs_id"),
        Index("job_dependency_needs_idx", "needs_id"),
    )

    job_id: Mapped[int]
    needs_id: Mapped[int]
    created_at: Mapped[CreatedAt]
    met_at: Mapped[datetime | None]


class IdempotencyKey(Base):
    """A user's key for one request to defer a job, and the job that the first such request made."""

    __tablename__ = "idempotency_key"
    __table_args__ = (PrimaryKeyConstraint("owner_id", "key"),)

    owner_id: Mapped[int] = mapped_column(ForeignKey("user_account.id"))
    key: Mapped[str]
    fingerprint: Mapped[str]
    job_id: Mapped[int]
    created_at: Mapped[CreatedAt]
