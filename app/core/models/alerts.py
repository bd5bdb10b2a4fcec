"""What operators want to be told of, and what they were told."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, Integer, Text, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.core.models.base import Base, CreatedAt

ALERT_KINDS = (
    "job_failure",
    "failure_rate",
    "queue_age",
    "no_worker",
    "slow_job",
    "disk_low",
    "long_transaction",
    "late_run",
    "missed_runs",
)


class AlertRule(Base):
    """A figure that is watched, its limit, and who is told when it is past it.

    A target is an e-mail address or the id of a webhook endpoint. `last_told_at` is when an alert
    of this rule was told last: the cooldown counts from then.
    """

    __tablename__ = "alert_rule"
    __table_args__ = (
        CheckConstraint(f"kind IN {ALERT_KINDS}", name="kind"),
        CheckConstraint("queue IS NULL OR task IS NULL", name="filter"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    threshold: Mapped[float]
    window_seconds: Mapped[int] = mapped_column(Integer)
    fewest_jobs: Mapped[int] = mapped_column(Integer)
    queue: Mapped[str | None]
    task: Mapped[str | None]
    targets: Mapped[list[str]] = mapped_column(ARRAY(Text))
    cooldown_seconds: Mapped[int] = mapped_column(Integer)
    is_enabled: Mapped[bool] = mapped_column(server_default=text("true"))
    silenced_until: Mapped[datetime | None]
    silenced_by: Mapped[str | None]
    silence_reason: Mapped[str | None]
    last_told_at: Mapped[datetime | None]
    created_at: Mapped[CreatedAt]
    created_by: Mapped[str]
    updated_at: Mapped[CreatedAt]


class Alert(Base):
    """One time that a rule's figure was past its limit, from `opened_at` to `resolved_at`.

    `since` is when the cause began, as far as it is known. What was not told, because of a silence
    or the cooldown, has no `told_at`.
    """

    __tablename__ = "alert"
    __table_args__ = (
        Index(
            "alert_open_key",
            "rule_id",
            unique=True,
            postgresql_where=text("resolved_at IS NULL"),
        ),
        Index("alert_opened_idx", "opened_at", "id"),
        Index("alert_rule_opened_idx", "rule_id", "opened_at", "id"),
        Index(
            "alert_untold_idx",
            "rule_id",
            postgresql_where=text("told_at IS NOT NULL AND resolved_told_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    rule_id: Mapped[int]
    rule_name: Mapped[str]
    kind: Mapped[str]
    threshold: Mapped[float]
    figure: Mapped[float]
    text: Mapped[str]
    job_id: Mapped[int | None]
    since: Mapped[datetime]
    opened_at: Mapped[CreatedAt]
    last_seen_at: Mapped[CreatedAt]
    resolved_at: Mapped[datetime | None]
    told_at: Mapped[datetime | None]
    resolved_told_at: Mapped[datetime | None]
