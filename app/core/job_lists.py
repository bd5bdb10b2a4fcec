"""Lists of jobs: filtered, in a stable order, in pages whose cost does not grow with the record.

A list is walked along the indexes (app.core.job_orders). Where few jobs match, COUNT_LIMIT at most,
they are found by the filters' own indexes and sorted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Subquery, and_, case, func, select
from sqlalchemy.orm import Session

from app.core import cursors, tallies
from app.core.job_matching import COUNT_LIMIT, Matching, count
from app.core.job_orders import Order, Sort, Stretch, directed, keys_of, stretches_of
from app.core.models import Job

# A job's columns as attributes, without its arguments, and without a result over _LARGEST_RESULT.
ListedJob = Any

_LARGEST_RESULT = 64 * 1024
_RESULT = case((func.pg_column_size(Job.result) <= _LARGEST_RESULT, Job.result)).label("result")
_LISTED: dict[str, ColumnElement[Any]] = {
    **{column.key: column for column in Job.__table__.c if column.key != "arguments"},
    "result": _RESULT,
}


@dataclass(frozen=True)
class Wanted:
    """Which page of a list, and which columns of its jobs: all, or these and the keys."""

    sort: Sort = "created_at"
    order: Order = "desc"
    limit: int = 50
    offset: int = 0
    cursor: str | None = None
    columns: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Page:
    """Some of the jobs that match; `total` is exact unless there are more than COUNT_LIMIT."""

    jobs: Sequence[ListedJob]
    total: int
    total_is_exact: bool
    has_more: bool
    next_cursor: str | None = field(repr=False)


def list_jobs(
    session: Session,
    wanted: Wanted,
    *,
    owner_name: str | None,
    statuses: frozenset[str] | None = None,
    job_type: str | None = None,
    queue: str | None = None,
) -> Page:
    """A page of a user's or (None) of everybody's jobs. Raises Invalid (the cursor)."""
    matching = Matching().of(statuses)
    for column, value in (
        (Job.owner_name, owner_name),
        (Job.task, job_type),
        (Job.queue, queue),
    ):
        if value is not None:
            matching = matching.where(column == value)
    total = count_all(session) if matching.is_everything else None
    return page(session, matching, wanted, total=total)


def count_all(session: Session) -> int:
    """How many jobs the record has, exactly: from the rollups."""
    by_status = tallies.count(session, "status", with_waiting=True).values()
    return sum(tally.jobs for tallied in by_status for tally in tallied.values())


def page(
    session: Session,
    matching: Matching,
    wanted: Wanted,
    *,
    counted: int | None = None,
    total: int | None = None,
) -> Page:
    """A page of the matching jobs.

    `counted` is what `count` would say, where it is known; `total` is exact however large.
    Raises Invalid (the cursor).
    """
    if counted is None:
        counted = count(session, matching) if total is None else total
    is_exact = total is not None or counted <= COUNT_LIMIT
    is_few = counted <= COUNT_LIMIT and not matching.is_everything
    if wanted.sort == "created_at" and matching.is_walkable:
        is_few = False
    jobs, next_cursor = _read(session, matching, wanted, is_few=is_few)
    return Page(
        jobs=jobs,
        total=counted if is_exact else COUNT_LIMIT,
        total_is_exact=is_exact,
        has_more=next_cursor is not None,
        next_cursor=next_cursor,
    )


def _read(
    session: Session, matching: Matching, wanted: Wanted, *, is_few: bool
) -> tuple[list[ListedJob], str | None]:
    """The page's jobs, and the cursor of the next page if there is one."""
    stretches = stretches_of(wanted.sort, wanted.order)
    begin, after = _place(wanted, stretches)
    found: list[ListedJob] = []
    places: list[int] = []
    offset = 0 if wanted.cursor else wanted.offset
    for number in range(begin, len(stretches)):
        stretch = stretches[number]
        if not stretch.may_hold(matching.statuses):
            continue
        missing = wanted.limit + 1 - len(found)
        keys = keys_of(
            matching,
            stretch,
            is_few=is_few,
            most=missing + offset,
            after=after if number == begin else None,
            order=wanted.order,
        )
        some = _rows(session, keys, stretch, wanted, offset)
        if offset and not some:
            offset -= session.scalar(select(func.count()).select_from(keys)) or 0
        else:
            offset = 0
        found += some
        places += [number] * len(some)
        if len(found) > wanted.limit:
            last = wanted.limit - 1
            return found[: wanted.limit], _cursor(wanted, stretches, places[last], found[last])
    return found, None


def _place(
    wanted: Wanted, stretches: Sequence[Stretch]
) -> tuple[int, Sequence[cursors.Value] | None]:
    """The stretch that the page begins in, and the keys of the job before it."""
    if wanted.cursor is None:
        return 0, None
    kinds = {_purpose(wanted, number): stretch.kinds for number, stretch in enumerate(stretches)}
    purpose, after = cursors.decode(wanted.cursor, kinds)
    return list(kinds).index(purpose), after


def _cursor(wanted: Wanted, stretches: Sequence[Stretch], number: int, job: ListedJob) -> str:
    values = [getattr(job, key) for key in stretches[number].keys]
    return cursors.encode(_purpose(wanted, number), values)


def _purpose(wanted: Wanted, stretch: int) -> str:
    return f"jobs {wanted.sort} {wanted.order} {stretch}"


def _rows(
    session: Session, keys: Subquery, stretch: Stretch, wanted: Wanted, offset: int
) -> list[ListedJob]:
    names = dict.fromkeys((*(wanted.columns or _LISTED), *stretch.keys))
    query = (
        select(*(_LISTED[name] for name in names))
        .join(keys, and_(Job.created_at == keys.c.created_at, Job.id == keys.c.id))
        .order_by(*directed(keys.c, stretch, wanted.order))
        .offset(offset or None)
    )
    return list(session.execute(query))
