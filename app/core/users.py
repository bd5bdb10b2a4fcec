"""Users: who owns files and batches, and what each may do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.core import audit
from app.core.errors import Forbidden, NotFound
from app.core.models import ApiKey, BrowserSession, User

SCOPES = ("read", "submit", "operate", "admin")

_SCOPES_BY_ROLE: dict[str, tuple[str, ...]] = {
    "admin": SCOPES,
    "operator": ("read", "submit", "operate"),
    "user": ("read", "submit"),
}

# Who may hear of everybody's things.
OPERATING_ROLES = tuple(
    role for role, scopes in _SCOPES_BY_ROLE.items() if {"operate", "admin"} & set(scopes)
)


@dataclass(frozen=True)
class Actor:
    """Whoever makes this request: a user, through a key or through a signed-in browser.

    `scopes` are what it may do; it sees what `seen` lets it see besides: where nothing may be changed.
    """

    user_id: int
    name: str
    scopes: frozenset[str]
    key_id: int | None = None
    seen: frozenset[str] = frozenset()

    @property
    def owner_filter(self) -> int | None:
        """Whose things it sees: its own, or (None) everybody's."""
        return None if (self.scopes | self.seen) & {"operate", "admin"} else self.user_id

    @property
    def owner_name(self) -> str | None:
        """The same for jobs, which know their owner by name."""
        return None if self.owner_filter is None else self.name

    @property
    def label(self) -> str:
        """How the audit trail names it."""
        return self.name if self.key_id is None else f"{self.name} (key {self.key_id})"


def actor_of(user: User, key: ApiKey | None = None) -> Actor:
    """The actor that `user` is, narrowed to the key's scopes when it came with a key."""
    scopes = set(_SCOPES_BY_ROLE.get(user.role, ()))
    if key is not None:
        scopes &= set(key.scopes)
    return Actor(user.id, user.name, frozenset(scopes), key.id if key else None)


def read_only(actor: Actor) -> Actor:
    """The same, who sees what it saw and may change nothing."""
    return replace(actor, scopes=actor.scopes & {"read"}, seen=actor.scopes)


def authorize(actor: Actor, action: str, owner_id: int | None = None) -> None:
    """Let `actor` do `action` (a scope) to something of `owner_id`'s, or raise.

    Raises Forbidden without the scope, and NotFound for somebody else's things.
    """
    if action not in actor.scopes | actor.seen:
        raise Forbidden(f"This needs the scope '{action}', which you do not have.")
    if owner_id is not None and actor.owner_filter not in (None, owner_id):
        raise NotFound("There is no such thing.")


def ensure_admin(session: Session) -> User:
    """The one local administrator, made at the first start."""
    session.execute(
        insert(User)
        .values(name="admin", role="admin")
        .on_conflict_do_nothing(index_elements=["name"])
    )
    return get(session, "admin")


def get(session: Session, name: str) -> User:
    """The user called `name`. Raises NotFound."""
    user = session.scalar(select(User).where(User.name == name))
    if user is None:
        raise NotFound(f"There is no user '{name}'.")
    return user


def list_users(session: Session) -> Sequence[User]:
    """All users, in the order they were made."""
    return session.scalars(select(User).order_by(User.id)).all()


def names(session: Session, ids: Sequence[int]) -> dict[int, str]:
    """How users are called, by their id."""
    found = session.execute(select(User.id, User.name).where(User.id.in_(ids)))
    return {row.id: row.name for row in found}


def enable(session: Session, name: str, actor: str) -> User:
    """Let `name` in again; keys that were not revoked work again."""
    user = get(session, name)
    user.disabled_at = None
    audit.record(session, actor, "user.enable", user.name)
    return user


def disable(session: Session, name: str, actor: str) -> User:
    """Shut `name` out at once: its keys stop working and its browsers are signed out."""
    user = get(session, name)
    user.disabled_at = user.disabled_at or session.scalar(select(func.now()))
    session.execute(
        update(BrowserSession)
        .where(BrowserSession.user_id == user.id, BrowserSession.ended_at.is_(None))
        .values(ended_at=func.now())
    )
    audit.record(session, actor, "user.disable", user.name)
    return user
