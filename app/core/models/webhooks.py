"""What is told to whom about a batch, and how the telling went."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, Index, SmallInteger, text
from sqlalchemy.orm import Mapped, mapped_column

from app.core.models.base import Base, CreatedAt

DELIVERY_STATUSES = ("pending", "delivered", "dead")


class WebhookDelivery(Base):
    """One event for one receiver: `id` is the webhook-id of every try, `payload` what is sent.

    A try runs until `claimed_until` at most; after that its process counts as dead.
    """

    __tablename__ = "webhook_delivery"
    __table_args__ = (
        Index(
            "webhook_delivery_due_idx", "next_try_at", postgresql_where=text("status = 'pending'")
        ),
        Index("webhook_delivery_batch_idx", "batch_id", "created_at"),
        CheckConstraint(f"status IN {DELIVERY_STATUSES}", name="status"),
        CheckConstraint("(status = 'delivered') = (delivered_at IS NOT NULL)", name="delivered_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    batch_id: Mapped[str]
    type: Mapped[str]
    url: Mapped[str]
    host: Mapped[str]
    payload: Mapped[str]
    status: Mapped[str] = mapped_column(server_default=text("'pending'"))
    tries: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    next_try_at: Mapped[CreatedAt]
    claimed_until: Mapped[datetime | None]
    last_tried_at: Mapped[datetime | None]
    last_status_code: Mapped[int | None] = mapped_column(SmallInteger)
    last_error: Mapped[str | None]
    created_at: Mapped[CreatedAt]
    delivered_at: Mapped[datetime | None]

    @property
    def is_pending(self) -> bool:
        """Whether another try may come."""
        return self.status == "pending"
