"""The audit trail: who did what to which object, from where, in the action's own transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, func, literal_column, select, tuple_
from sqlalchemy.orm import Session

from app.core import cursors, listening
from app.core.errors import Invalid
from app.core.models import AuditEntry
from app.core.sql import statement

COLUMNS = ("id", "at", "actor", "action", "object_id", "details", "address")
MOST_EXPORTED = 100_000

_CURSOR = "audit"
_PART = 1000
# What is done to these, pages hear of anyway, or it happens too often to have every page look again.
_NOT_TOLD = ("batch", "file", "job", "queue", "schedule", "session", "sign_in_link")
_KEY = " (key "
# Word for word as its index has it.
_person_of_entry = func.split_part(
    AuditEntry.actor, literal_column("' (key '"), literal_column("1")
)

_address: ContextVar[str | None] = ContextVar("audit_address", default=None)


def came_from(address: str | None) -> None:
    """What is done from now on in this thread was asked from there."""
    _address.set(address)


def record(session: Session, actor: str, action: str, object_id: str, details: str = "") -> None:
    """Add an entry, like `record(session, "admin", "batch.cancel", "batch_…")`."""
    session.add(
        AuditEntry(
            actor=actor,
            action=action,
            object_id=object_id,
            details=details,
            address=_address.get(),
        )
    )
    if action.partition(".")[0] not in _NOT_TOLD:
        listening.tell(session, "audit")


@dataclass(frozen=True)
class Filter:
    """Which entries; None is any. An actor without its key means the person and all its keys."""

    actor: str | None = None
    action: str | None = None
    object_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def list_entries(
    session: Session, wanted: Filter, *, cursor: str | None = None, limit: int
) -> tuple[Sequence[AuditEntry], str | None]:
    """A page, newest first, and the cursor of the next if there is one. Raises Invalid."""
    query = _matching(wanted)
    if cursor is not None:
        _, place = cursors.decode(cursor, {_CURSOR: (datetime, int)})
        query = query.where(tuple_(AuditEntry.at, AuditEntry.id) < tuple_(*place))
    query = query.order_by(AuditEntry.at.desc(), AuditEntry.id.desc()).limit(limit + 1)
    found = session.scalars(query).all()
    if len(found) <= limit:
        return found, None
    last = found[limit - 1]
    return found[:limit], cursors.encode(_CURSOR, (last.at, last.id))


def export(session: Session, wanted: Filter) -> Iterator[Sequence[AuditEntry]]:
    """The same, part by part, MOST_EXPORTED at most: no statement takes long, no memory grows."""
    cursor: str | None = None
    for _ in range(MOST_EXPORTED // _PART):
        found, cursor = list_entries(session, wanted, cursor=cursor, limit=_PART)
        session.expunge_all()
        session.rollback()  # nothing is held while the reader takes its time
        if found:
            yield found
        if cursor is None:
            return


def actions(session: Session) -> list[str]:
    """Every action that was ever recorded, by name."""
    return list(session.scalars(statement("audit", "actions")))


def actors(session: Session) -> list[str]:
    """Everybody who ever did something, keys aside, by name; the first thousand."""
    return list(session.scalars(statement("audit", "actors")))


def _matching(wanted: Filter) -> Select[AuditEntry]:
    if wanted.since and wanted.until and wanted.since >= wanted.until:
        raise Invalid("since must be before until.", param="since")
    query = select(AuditEntry)
    if wanted.actor is not None:
        query = query.where(_person_of_entry == wanted.actor.partition(_KEY)[0])
        if _KEY in wanted.actor:
            query = query.where(AuditEntry.actor == wanted.actor)
    if wanted.action is not None:
        query = query.where(AuditEntry.action == wanted.action)
    if wanted.object_id is not None:
        query = query.where(AuditEntry.object_id == wanted.object_id)
    if wanted.since is not None:
        query = query.where(AuditEntry.at >= wanted.since)
    if wanted.until is not None:
        query = query.where(AuditEntry.at < wanted.until)
    return query
