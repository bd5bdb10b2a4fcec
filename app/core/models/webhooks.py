"""Who is told what, and how the telling went."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.core.models.base import Base, CreatedAt

DELIVERY_STATUSES = ("pending", "delivered", "dead")


class WebhookEndpoint(Base):
    """A URL that hears of events of the types it chose: its owner's, or everybody's.

    `old_secret` signs too, until its time is over. What answered 410 is disabled.
    """

    __tablename__ = "webhook_endpoint"

    id: Mapped[str] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("user_account.id"), index=True)
    name: Mapped[str]
    url: Mapped[str]
    event_types: Mapped[list[str]] = mapped_column(ARRAY(Text))
    hears_all: Mapped[bool] = mapped_column(server_default=text("false"))
    secret: Mapped[str]
    old_secret: Mapped[str | None]
    old_secret_until: Mapped[datetime | None]
    created_at: Mapped[CreatedAt]
    updated_at: Mapped[CreatedAt]
    disabled_at: Mapped[datetime | None]

    @property
    def secret_hint(self) -> str:
        """Enough to tell two secrets apart."""
        return f"whsec_…{self.secret[-4:]}"


class WebhookDelivery(Base):
    """One event for one receiver: `id` is the webhook-id of every try, `payload` what is sent.

    The receiver is an endpoint, else its batch's own webhook, else (`mailto:`) an e-mail address.
    A try runs until `claimed_until` at most; after that its process counts as dead. What was given
    up once has `died_at` from then on; `retried_at` is when somebody had it sent once more.
    """

    __tablename__ = "webhook_delivery"
    __table_args__ = (
        Index(
            "webhook_delivery_due_idx", "next_try_at", postgresql_where=text("status = 'pending'")
        ),
        Index("webhook_delivery_batch_idx", "batch_id", "created_at"),
        Index(
            "webhook_delivery_endpoint_idx",
            "endpoint_id",
            "created_at",
            postgresql_where=text("endpoint_id IS NOT NULL"),
        ),
        Index(
            "webhook_delivery_dead_owner_idx",
            "owner_id",
            "died_at",
            "id",
            postgresql_where=text("died_at IS NOT NULL"),
        ),
        Index(
            "webhook_delivery_dead_idx",
            "died_at",
            "id",
            postgresql_where=text("died_at IS NOT NULL"),
        ),
        CheckConstraint(f"status IN {DELIVERY_STATUSES}", name="status"),
        CheckConstraint("(status = 'delivered') = (delivered_at IS NOT NULL)", name="delivered_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    owner_id: Mapped[int | None]
    batch_id: Mapped[str | None]
    endpoint_id: Mapped[str | None] = mapped_column(
        ForeignKey("webhook_endpoint.id", ondelete="CASCADE")
    )
    type: Mapped[str]
    url: Mapped[str]
    host: Mapped[str]
    payload: Mapped[str]
    is_test: Mapped[bool] = mapped_column(server_default=text("false"))
    status: Mapped[str] = mapped_column(server_default=text("'pending'"))
    tries: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    next_try_at: Mapped[CreatedAt]
    claimed_until: Mapped[datetime | None]
    last_tried_at: Mapped[datetime | None]
    last_status_code: Mapped[int | None] = mapped_column(SmallInteger)
    last_error: Mapped[str | None]
    created_at: Mapped[CreatedAt]
    delivered_at: Mapped[datetime | None]
    died_at: Mapped[datetime | None]
    retried_at: Mapped[datetime | None]

    @property
    def is_pending(self) -> bool:
        """Whether another try may come."""
        return self.status == "pending"


class WebhookTry(Base):
    """One try of a delivery: when it began, what came back, how long that took."""

    __tablename__ = "webhook_try"
    __table_args__ = (PrimaryKeyConstraint("delivery_id", "number"),)

    delivery_id: Mapped[str] = mapped_column(ForeignKey("webhook_delivery.id", ondelete="CASCADE"))
    number: Mapped[int] = mapped_column(SmallInteger)
    at: Mapped[datetime]
    status_code: Mapped[int | None] = mapped_column(SmallInteger)
    error: Mapped[str | None]
    milliseconds: Mapped[int] = mapped_column(Integer)
