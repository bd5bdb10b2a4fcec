"""Files: rows here, bytes in the data folder."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.core.models.base import Base, CreatedAt

UPLOAD_PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
PURPOSES = (*UPLOAD_PURPOSES, "batch_output", "export")


class File(Base):
    """An uploaded or a written file. The row exists only once all its bytes are on disk."""

    __tablename__ = "file"
    __table_args__ = (
        Index("file_owner_created_idx", "owner_id", "created_at", "id"),
        Index("file_created_idx", "created_at", "id"),
        Index("file_purpose_created_idx", "purpose", "created_at", "id"),
        Index("file_expires_at_idx", "expires_at"),
        CheckConstraint("bytes >= 0", name="bytes"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("user_account.id"))
    purpose: Mapped[str]
    filename: Mapped[str]
    bytes: Mapped[int]
    sha256: Mapped[str]
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime | None]
