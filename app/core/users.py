"""Users: who owns files and batches, and what each may do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.core import audit
from app.core.errors import Conflict, Forbidden, Invalid, NotFound
from app.core.models import ApiKey, BrowserSession, User

SCOPES = ("read", "submit", "operate", "admin")

_SCOPES_BY_ROLE: dict[str, tuple[str, ...]] = {
    "admin": SCOPES,
    "operator": ("read", "submit", "operate"),
    "user": ("read", "submit"),
    "viewer": ("read",),
}
ROLES = tuple(_SCOPES_BY_ROLE)

# What a role sees as those do who have these scopes, and may not change.
_SEEN_BY_ROLE: dict[str, tuple[str, ...]] = {"viewer": ("read", "submit", "operate")}

_VIEWER = "A viewer sees how things stand, and changes nothing."
_READ_ONLY_PAGES = "This dashboard is read-only: it shows, and changes nothing."
# As the audit trail has "ben (key 3)", and searches and addresses have names as words.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")

# Who may hear of everybody's things.
OPERATING_ROLES = tuple(
    role for role, scopes in _SCOPES_BY_ROLE.items() if {"operate", "admin"} & set(scopes)
)


@dataclass(frozen=True)
class Actor:
    """Whoever makes this request: a user, through a key or through a signed-in browser.

    `scopes` are what it may do. Where it may change nothing, `only_looks` says why, in a sentence, and
    it sees what `seen` lets it see besides.
    """

    user_id: int
    name: str
    scopes: frozenset[str]
    key_id: int | None = None
    seen: frozenset[str] = frozenset()
    only_looks: str = ""

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
    scopes = frozenset(_SCOPES_BY_ROLE.get(user.role, ()))
    seen = frozenset(_SEEN_BY_ROLE.get(user.role, ()))
    if key is not None:
        scopes &= set(key.scopes)
        seen &= set(key.scopes)
    return Actor(
        user.id,
        user.name,
        scopes,
        key.id if key else None,
        seen,
        _VIEWER if user.role in _SEEN_BY_ROLE else "",
    )


def read_only(actor: Actor) -> Actor:
    """The same, who sees what it saw and may change nothing."""
    return replace(
        actor,
        scopes=actor.scopes & {"read"},
        seen=actor.scopes | actor.seen,
        only_looks=_READ_ONLY_PAGES,
    )


def authorize(actor: Actor, action: str, owner_id: int | None = None) -> None:
    """Let `actor` do `action` (a scope) to something of `owner_id`'s, or raise.

    Raises Forbidden without the scope, and NotFound for somebody else's things.
    """
    if action not in actor.scopes:
        raise Forbidden(actor.only_looks or _lacks(action))
    if owner_id is not None and actor.owner_filter not in (None, owner_id):
        raise NotFound("There is no such thing.")


def authorize_look(actor: Actor, scope: str) -> None:
    """Let `actor` look at what those see who have `scope`. Raises Forbidden."""
    if scope not in actor.scopes | actor.seen:
        raise Forbidden(_lacks(scope))


def _lacks(scope: str) -> str:
    return f"This needs the scope '{scope}', which you do not have."


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


def create(session: Session, name: str, role: str, actor: str) -> User:
    """A new user, who signs in by a link and has no key yet. Raises Invalid and Conflict."""
    if not _NAME.fullmatch(name):
        raise Invalid(
            "name must have 1 to 64 letters, digits or . _ @ - and begin with a letter or digit.",
            param="name",
        )
    _check_role(role)
    made: User | None = session.scalar(
        insert(User)
        .values(name=name, role=role)
        .on_conflict_do_nothing(index_elements=["name"])
        .returning(User)
    )
    if made is None:
        raise Conflict(f"There is a user '{name}' already.", param="name")
    audit.record(session, actor, "user.create", name, role)
    return made


def change_role(session: Session, name: str, role: str, actor: str) -> User:
    """Let `name` do, from the next request on, what `role` may: with its keys and browsers, too.

    Raises NotFound, Invalid, and Conflict for the last administrator.
    """
    _check_role(role)
    # In one order for all, so that two who step down at once don't leave nobody.
    administrators = session.scalars(
        select(User)
        .where(User.role == "admin", User.disabled_at.is_(None))
        .order_by(User.id)
        .with_for_update()
    ).all()
    user = get(session, name)
    if [each.name for each in administrators] == [name] and role != "admin":
        raise Conflict(f"{name} is the last administrator.", param="role")
    if user.role != role:
        audit.record(session, actor, "user.role", name, f"{user.role} → {role}")
        user.role = role
    return user


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise Invalid(f"role must be one of {', '.join(ROLES)}.", param="role")


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
