"""What a user has put away to find it again."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Identity, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from app.core.models.base import Base, CreatedAt


class SavedView(Base):
    """A page with its filters under a name: its address, a path and a query, below the prefix."""

    __tablename__ = "saved_view"
    __table_args__ = (UniqueConstraint("user_id", "name"),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user_account.id", ondelete="CASCADE"))
    name: Mapped[str]
    address: Mapped[str]
    created_at: Mapped[CreatedAt]
