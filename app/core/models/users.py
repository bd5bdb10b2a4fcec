"""Who may do what: users, their API keys, their browsers' sessions and one-time sign-in links."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ARRAY, ForeignKey, Identity, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from app.core.models.base import Base, CreatedAt


class User(Base):
    """A person (or a program) that owns files, batches and jobs."""

    __tablename__ = "user_account"  # `user` is a reserved word in SQL

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    role: Mapped[str]
    created_at: Mapped[CreatedAt]
    disabled_at: Mapped[datetime | None]


class ApiKey(Base):
    """A secret that a program sends; only its SHA-256 is kept."""

    __tablename__ = "api_key"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user_account.id"), index=True)
    name: Mapped[str]
    digest: Mapped[bytes] = mapped_column(unique=True)
    hint: Mapped[str]
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_at: Mapped[CreatedAt]
    last_used_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]

    user: Mapped[User] = relationship(lazy="joined")


class BrowserSession(Base):
    """A signed-in browser; its cookie holds the token, this row the token's SHA-256."""

    __tablename__ = "browser_session"

    digest: Mapped[bytes] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user_account.id"), index=True)
    created_at: Mapped[CreatedAt]
    last_seen_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    ended_at: Mapped[datetime | None]

    user: Mapped[User] = relationship(lazy="joined")


class SignInLink(Base):
    """A link that signs a browser in once."""

    __tablename__ = "sign_in_link"

    digest: Mapped[bytes] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("user_account.id"), index=True)
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    used_at: Mapped[datetime | None]

    user: Mapped[User] = relationship(lazy="joined")


class AuditEntry(Base):
    """Who did what to which object, written in the action's own transaction.

    `address` is the network address that asked; None for what was asked on the machine itself. A key
    acts for a person: the index on actors has who that is.
    """

    __tablename__ = "audit_entry"
    __table_args__ = (
        Index("audit_entry_at_idx", "at", "id"),
        Index("audit_entry_actor_idx", text("split_part(actor, ' (key ', 1)"), "at", "id"),
        Index("audit_entry_action_idx", "action", "at", "id"),
        Index("audit_entry_object_idx", "object_id", "at", "id"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    at: Mapped[CreatedAt]
    actor: Mapped[str]
    action: Mapped[str]
    object_id: Mapped[str]
    details: Mapped[str] = mapped_column(server_default=text("''"))
    address: Mapped[str | None]
