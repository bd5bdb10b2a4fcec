"""Lists of incidents: filtered, newest first, in pages; and one action on all that match."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, tuple_, update
from sqlalchemy.orm import Session

from app.core import audit, cursors
from app.core.models import Incident, Job

# Counting stops here; and no action is on more.
COUNT_LIMIT = 10_000
_MOST_ID = 2**63 - 1
_CURSOR = "incidents"


@dataclass(frozen=True)
class Wanted:
    """Which incidents; None means any. `since` and `until` are of their opening.

    `verdict` may be "none": no model has judged it. `ids` are these alone.
    """

    risk_level: str | None = None
    source: str | None = None
    is_reviewed: bool | None = None
    verdict: str | None = None
    task: str | None = None
    text: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    ids: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Page:
    """Some of the incidents that match; `total` is exact below COUNT_LIMIT. `cursor` is the next page's."""

    incidents: Sequence[Incident]
    total: int
    cursor: str | None

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
    shown, following = newest(session, wanted, owner_name=owner_name, limit=limit, cursor=cursor)
    return Page(shown, count(session, wanted, owner_name), following)


def newest(
    session: Session,
    wanted: Wanted,
    *,
    owner_name: str | None,
    limit: int,
    cursor: str | None = None,
) -> tuple[Sequence[Incident], str | None]:
    """As `page`, not counted: the incidents, and the cursor of the next page if there is one."""
    query = select(Incident).where(*conditions(wanted, owner_name))
    if cursor:
        _, place = cursors.decode(cursor, {_CURSOR: (datetime, int)})
        query = query.where(tuple_(Incident.opened_at, Incident.id) < tuple_(*place))
    query = query.order_by(Incident.opened_at.desc(), Incident.id.desc()).limit(limit + 1)
    found = session.scalars(query).all()
    if len(found) <= limit:
        return found, None
    last = found[limit - 1]
    return found[:limit], cursors.encode(_CURSOR, (last.opened_at, last.id))


def count(session: Session, wanted: Wanted, owner_name: str | None) -> int:
    """How many match, COUNT_LIMIT at most."""
    capped = select(Incident.id).where(*conditions(wanted, owner_name)).limit(COUNT_LIMIT)
    return session.scalar(select(func.count()).select_from(capped.subquery())) or 0


def ids(session: Session, wanted: Wanted, owner_name: str | None) -> list[int]:
    """Which match, the newest COUNT_LIMIT."""
    query = select(Incident.id).where(*conditions(wanted, owner_name))
    newest = query.order_by(Incident.opened_at.desc(), Incident.id.desc())
    return list(session.scalars(newest.limit(COUNT_LIMIT)))


def review(session: Session, wanted: Wanted, actor: str) -> int:
    """Close those that match and are open: the same things again open new ones. The caller commits.

    How many it were, COUNT_LIMIT at most.
    """
    chosen = ids(session, wanted, None)
    closed = session.scalars(
        update(Incident)
        .where(Incident.id.in_(chosen), Incident.reviewed_at.is_(None))
        .values(reviewed_at=func.clock_timestamp(), reviewed_by=actor)
        .returning(Incident.id)
    ).all()
    for incident_id in closed:
        audit.record(session, actor, "incident.review", str(incident_id))
    return len(closed)


def conditions(wanted: Wanted, owner_name: str | None) -> list[ColumnElement[bool]]:
    """What an incident must meet."""
    found: list[ColumnElement[bool]] = []
    if owner_name is not None:
        found.append(exists().where(Job.id == Incident.job_id, Job.owner_name == owner_name))
    if wanted.ids is not None:
        found.append(Incident.id.in_(wanted.ids))
    if wanted.risk_level is not None:
        found.append(Incident.risk_level == wanted.risk_level)
    if wanted.source is not None:
        found.append(Incident.source == wanted.source)
    if wanted.is_reviewed is not None:
        is_open = Incident.reviewed_at.is_(None)
        found.append(~is_open if wanted.is_reviewed else is_open)
    if wanted.verdict is not None:
        is_any = Incident.verdict == wanted.verdict
        found.append(Incident.verdict.is_(None) if wanted.verdict == "none" else is_any)
    if wanted.task is not None:
        tasks: Any = (Incident.details["task"].astext, Incident.details["other_task"].astext)
        found.append(or_(*(task == wanted.task for task in tasks)))
    if wanted.text:
        found.append(_says(wanted.text))
    if wanted.since is not None:
        found.append(Incident.opened_at >= wanted.since)
    if wanted.until is not None:
        found.append(Incident.opened_at < wanted.until)
    return found


def _says(text: str) -> ColumnElement[bool]:
    """All words are in what it says; a number is also its own, or its job's."""
    words = []
    for word in text.split()[:20]:
        fits: ColumnElement[bool] = or_(
            Incident.text.icontains(word, autoescape=True),
            Incident.summary.icontains(word, autoescape=True),
        )
        if word.isascii() and word.isdecimal() and len(word) < 20 and int(word) <= _MOST_ID:
            fits = or_(fits, Incident.id == int(word), Incident.job_id == int(word))
        words.append(fits)
    return and_(*words)
