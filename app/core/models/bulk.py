"""What an action on many jobs came to."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, Index, PrimaryKeyConstraint, text
from sqlalchemy.orm import Mapped

from app.core.models.base import Base, CreatedAt


class BulkItem(Base):
    """What the bulk job `bulk_id` did to the job `job_id`, or why it was skipped.

    `kind` is the reason without what names this one job, and null when it was done. `found_*` is the
    job that a search for the action's jobs finds: the new one of a retry, else the job itself, and none
    where that is gone or was skipped.
    """

    __tablename__ = "bulk_item"
    __table_args__ = (
        PrimaryKeyConstraint("bulk_id", "job_id"),
        Index("bulk_item_kind_idx", "bulk_id", "kind", "job_id"),
        Index(
            "bulk_item_found_idx",
            "bulk_id",
            "found_created_at",
            "found_id",
            postgresql_where=text("found_id IS NOT NULL"),
        ),
        CheckConstraint("(kind IS NULL) = (reason IS NULL)", name="why"),
    )

    bulk_id: Mapped[int]
    job_id: Mapped[int]
    task: Mapped[str]
    kind: Mapped[str | None]
    reason: Mapped[str | None]
    found_id: Mapped[int | None]
    found_created_at: Mapped[datetime | None]
    at: Mapped[CreatedAt]
