"""Lists of incidents: filtered, newest first, in pages; and one action on all that match."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, tuple_, update
from sqlalchemy.orm import Session

from app.core import audit, cursors
from app.core.incident_matching import Conditions, Wanted, conditions, match
from app.core.models import Incident

# Counting stops here; and no action is on more.
COUNT_LIMIT = 10_000
_CURSOR = "incidents"


@dataclass(frozen=True)
class Page:
    """Some of the incidents that match; `total` is exact below COUNT_LIMIT. `cursor` is the next page's.

    `looked_at` is how many of the newest were searched, where not all.
    """

    incidents: Sequence[Incident]
    total: int
    cursor: str | None
    looked_at: int | None = None

    @property
    def total_is_exact(self) -> bool:
        return self.total < COUNT_LIMIT


def page(
    session: Session,
    wanted: Wanted,
    *,
    owner_name: str | None,
    limit: int,
    cursor: str | None = None,
) -> Page:
    """A page of everybody's, or (with an owner) of those about the owner's jobs. Raises Invalid (cursor)."""
    matching = match(session, wanted, owner_name)
    shown, following = _newest(session, matching.conditions, limit, cursor)
    total = _count(session, matching.conditions)
    return Page(shown, total, following, matching.looked_at)


def newest(
    session: Session,
    wanted: Wanted,
    *,
    owner_name: str | None,
    limit: int,
    cursor: str | None = None,
) -> tuple[Sequence[Incident], str | None]:
    """As `page`, among all and not counted: the incidents, and the cursor of the next page if there is one."""
    return _newest(session, conditions(wanted, owner_name), limit, cursor)


def _newest(
    session: Session, asked: Conditions, limit: int, cursor: str | None
) -> tuple[Sequence[Incident], str | None]:
    query = select(Incident).where(*asked)
    if cursor:
        _, place = cursors.decode(cursor, {_CURSOR: (datetime, int)})
        query = query.where(tuple_(Incident.opened_at, Incident.id) < tuple_(*place))
    query = query.order_by(Incident.opened_at.desc(), Incident.id.desc()).limit(limit + 1)
    found = session.scalars(query).all()
    if len(found) <= limit:
        return found, None
    last = found[limit - 1]
    return found[:limit], cursors.encode(_CURSOR, (last.opened_at, last.id))


def _count(session: Session, asked: Conditions) -> int:
    capped = select(Incident.id).where(*asked).limit(COUNT_LIMIT)
    return session.scalar(select(func.count()).select_from(capped.subquery())) or 0


def ids(session: Session, wanted: Wanted) -> list[int]:
    """Which of everybody's a page of them counts, the newest COUNT_LIMIT."""
    query = select(Incident.id).where(*match(session, wanted, None).conditions)
    newest = query.order_by(Incident.opened_at.desc(), Incident.id.desc())
    return list(session.scalars(newest.limit(COUNT_LIMIT)))


def review(session: Session, wanted: Wanted, actor: str) -> int:
    """Close those that match and are open: the same things again open new ones. The caller commits.

    How many it were, COUNT_LIMIT at most.
    """
    chosen = ids(session, wanted)
    closed = session.scalars(
        update(Incident)
        .where(Incident.id.in_(chosen), Incident.reviewed_at.is_(None))
        .values(reviewed_at=func.clock_timestamp(), reviewed_by=actor)
        .returning(Incident.id)
    ).all()
    for incident_id in closed:
        audit.record(session, actor, "incident.review", str(incident_id))
    return len(closed)
