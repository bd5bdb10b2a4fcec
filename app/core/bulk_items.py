"""What an action on many jobs came to, job by job: done, or skipped and why.

Each is written with what was done, in one transaction, so a bulk job that begins anew goes on where it
was, and one that was cancelled has told how far it came.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, Subquery, and_, exists, func, select, tuple_
from sqlalchemy.orm import Session

from app.core import cursors
from app.core.models import BulkItem, Job
from app.core.sql import statement
from app.core.stats import StatsCache

Outcome = Literal["done", "skipped"]
DONE: Literal["done"] = "done"
SKIPPED: Literal["skipped"] = "skipped"

_LONGEST_KIND = 200
_PART = 1000
# What names one job or another thing, in the sentence of a refusal.
_NAMES = re.compile(r"'[^']*'|\b(?:batch_|file-)\w+|\b\d+\b")
_KINDS: dict[Outcome, tuple[type, ...]] = {DONE: (int,), SKIPPED: (str, int)}


# What is counted in no time is counted anew each time.
_PATIENCE = 20.0


@dataclass(frozen=True)
class Tally:
    """How far an action has come; `kinds` are the reasons for skipping, the most frequent first.

    `found` counts the jobs that a search for the action's jobs finds.
    """

    done: int = 0
    found: int = 0
    kinds: Sequence[tuple[str, int]] = field(default=())

    @property
    def skipped(self) -> int:
        return sum(jobs for _, jobs in self.kinds)


@dataclass(frozen=True)
class Wanted:
    """Which of an action's jobs: those `done`, or `skipped` for every reason or one kind of it."""

    outcome: Outcome = SKIPPED
    kind: str | None = None


def kind_of(reason: str) -> str:
    """A reason without what names one job: `Its batch … has not ended: it is in_progress.`"""
    return _NAMES.sub("…", reason).replace("….", "…")[:_LONGEST_KIND]


def record_done(session: Session, bulk_id: int, job: tuple[int, str], found_id: int | None) -> None:
    """That it was done to a job (its id and task); a search finds `found_id`, if there is one."""
    _record(session, bulk_id, job, found_id=found_id)


def record_skipped(session: Session, bulk_id: int, job: tuple[int, str], reason: str) -> None:
    """That a job was left as it was."""
    _record(session, bulk_id, job, kind=kind_of(reason), reason=reason)


def _record(
    session: Session,
    bulk_id: int,
    job: tuple[int, str],
    *,
    found_id: int | None = None,
    kind: str | None = None,
    reason: str | None = None,
) -> None:
    session.execute(
        statement("bulk_items", "record"),
        {
            "bulk_id": bulk_id,
            "job_id": job[0],
            "task": job[1],
            "kind": kind,
            "reason": reason,
            "found_id": found_id,
        },
    )


def recorded(session: Session, bulk_id: int) -> set[int]:
    """The jobs that it has come to so far."""
    return set(session.scalars(select(BulkItem.job_id).where(BulkItem.bulk_id == bulk_id)))


_tallies = StatsCache[Tally](patience=_PATIENCE)
_counts = StatsCache[dict[int, tuple[int, int]]](patience=_PATIENCE)


def tally(session: Session, bulk_id: int) -> Tally:
    """How far it has come, and why it skipped what; of very many not at every refresh."""
    key = (session.get_bind(), bulk_id)
    return _tallies.get(key, lambda: _tally(session, bulk_id))


def _tally(session: Session, bulk_id: int) -> Tally:
    rows = session.execute(statement("bulk_items", "tally"), {"bulk_id": bulk_id}).all()
    done = next((row for row in rows if row.kind is None), None)
    return Tally(
        done=done.jobs if done else 0,
        found=done.found if done else 0,
        kinds=[(row.kind, row.jobs) for row in rows if row.kind is not None],
    )


def counts(session: Session, bulk_ids: Sequence[int]) -> dict[int, tuple[int, int]]:
    """How many jobs of each action were done, and skipped; of very many not at every refresh."""
    key = (session.get_bind(), *bulk_ids)
    return _counts.get(key, lambda: _count(session, bulk_ids))


def _count(session: Session, bulk_ids: Sequence[int]) -> dict[int, tuple[int, int]]:
    rows = session.execute(statement("bulk_items", "counts"), {"ids": list(bulk_ids)})
    return {row.bulk_id: (row.done, row.skipped) for row in rows}


def page(
    session: Session, bulk_id: int, wanted: Wanted, *, limit: int, cursor: str | None = None
) -> tuple[Sequence[BulkItem], str | None]:
    """Some of an action's jobs, by reason and number; and the next page's cursor if there is one.

    Raises Invalid (the cursor).
    """
    is_done = wanted.outcome == DONE
    keys = (BulkItem.job_id,) if is_done else (BulkItem.kind, BulkItem.job_id)
    query = select(BulkItem).where(BulkItem.bulk_id == bulk_id)
    query = query.where(BulkItem.kind.is_(None) if is_done else BulkItem.kind.is_not(None))
    if wanted.kind is not None and not is_done:
        query = query.where(BulkItem.kind == wanted.kind)
    if cursor is not None:
        purposes = {f"bulk {wanted.outcome}": _KINDS[wanted.outcome]}
        _, place = cursors.decode(cursor, purposes)
        query = query.where(tuple_(*keys) > tuple_(*place))
    found = session.scalars(query.order_by(*keys).limit(limit + 1)).all()
    if len(found) <= limit:
        return found, None
    last = found[limit - 1]
    place = [last.job_id] if is_done else [last.kind or "", last.job_id]
    return found[:limit], cursors.encode(f"bulk {wanted.outcome}", place)


def export(session: Session, bulk_id: int, wanted: Wanted) -> Iterator[Sequence[BulkItem]]:
    """All of them, part by part: no statement takes long, no memory grows."""
    cursor: str | None = None
    while True:
        found, cursor = page(session, bulk_id, wanted, limit=_PART, cursor=cursor)
        session.expunge_all()
        session.rollback()  # nothing is held while the reader takes its time
        yield found
        if cursor is None:
            return


def keys(bulk_ids: Sequence[int]) -> Select[Any]:
    """The keys of the jobs that a search for these actions finds."""
    columns: Sequence[Any] = (
        BulkItem.found_created_at.label("created_at"),
        BulkItem.found_id.label("id"),
    )
    found = select(*columns).where(BulkItem.bulk_id.in_(bulk_ids))
    return found.where(BulkItem.found_id.is_not(None)).distinct()


def is_of(bulk_ids: Sequence[int]) -> ColumnElement[bool]:
    """The same as a condition on jobs."""
    return (
        exists()
        .where(
            BulkItem.bulk_id.in_(bulk_ids),
            BulkItem.found_created_at == Job.created_at,
            BulkItem.found_id == Job.id,
        )
        .correlate(Job)
    )


def is_in_their_time(bulk_ids: Sequence[int]) -> ColumnElement[bool]:
    """That a job was made no earlier than the first of them, and no later than the last."""
    made: Subquery = keys(bulk_ids).subquery("made")
    first, last = (
        select(bound(made.c.created_at)).scalar_subquery() for bound in (func.min, func.max)
    )
    return and_(Job.created_at >= first, Job.created_at <= last)
