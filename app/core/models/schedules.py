"""What runs by the clock, and each time that it did or did not."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, CheckConstraint, ForeignKey, Identity, Index, Integer, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.core.models.base import Base, CreatedAt
from app.core.models.users import User

MISSED_POLICIES = ("skip", "one", "all")
OVERLAP_POLICIES = ("allow", "skip", "queue")


class Schedule(Base):
    """A task with its arguments, and when it is to run.

    `next_planned_at` is the next time by the trigger, `next_due_at` the same with its jitter; both
    are null when there is none any more. A task that is not built in has its `queue`. Of the owner's
    rights it has those among `scopes`: whoever defined it had no others.
    """

    __tablename__ = "schedule"
    __table_args__ = (
        Index("schedule_owner_name_key", "owner_id", "name", unique=True),
        Index(
            "schedule_due_idx",
            "next_due_at",
            postgresql_where=text("next_due_at IS NOT NULL AND paused_at IS NULL"),
        ),
        CheckConstraint(f"missed_policy IN {MISSED_POLICIES}", name="missed_policy"),
        CheckConstraint(f"overlap_policy IN {OVERLAP_POLICIES}", name="overlap_policy"),
        CheckConstraint("(next_planned_at IS NULL) = (next_due_at IS NULL)", name="next"),
        CheckConstraint("(paused_at IS NULL) = (pause_reason IS NULL)", name="paused"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("user_account.id"))
    name: Mapped[str]
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    task: Mapped[str]
    arguments: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    queue: Mapped[str | None]
    priority: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    trigger: Mapped[dict[str, Any]] = mapped_column(JSONB)
    missed_policy: Mapped[str]
    missed_limit: Mapped[int] = mapped_column(Integer)
    overlap_policy: Mapped[str]
    jitter_seconds: Mapped[float] = mapped_column(server_default=text("0"))
    next_planned_at: Mapped[datetime | None]
    next_due_at: Mapped[datetime | None]
    created_at: Mapped[CreatedAt]
    changed_at: Mapped[datetime | None]
    paused_at: Mapped[datetime | None]
    paused_by: Mapped[str | None]
    pause_reason: Mapped[str | None]

    owner: Mapped[User] = relationship(lazy="joined", innerjoin=True)


class ScheduleFiring(Base):
    """One planned time of a schedule: the job that came of it, or why there is none.

    `planned_runs` is how many planned times it stands for; `asked_by` who ran it by hand. Its key is
    what keeps two housekeepers from doing the same twice.
    """

    __tablename__ = "schedule_firing"
    __table_args__ = (
        Index("schedule_firing_decided_idx", "decided_at"),
        CheckConstraint("job_id IS NOT NULL OR reason IS NOT NULL", name="told"),
    )

    schedule_id: Mapped[int] = mapped_column(
        ForeignKey("schedule.id", ondelete="CASCADE"), primary_key=True
    )
    planned_at: Mapped[datetime] = mapped_column(primary_key=True)
    decided_at: Mapped[CreatedAt]
    job_id: Mapped[int | None]
    planned_runs: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    asked_by: Mapped[str | None]
    reason: Mapped[str | None]
