"""Lists of jobs: filtered, in a stable order, in pages whose cost does not grow with the record.

A list is walked along an index in one or several stretches, each with an order that an index has:
jobs that have started by their start, then those that have not. Where few jobs match (COUNT_LIMIT
at most), they are found by the filters' own indexes and sorted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Select,
    Subquery,
    and_,
    case,
    func,
    literal_column,
    select,
    true,
    tuple_,
    union_all,
)
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.orm import Session

from app.core import cursors, tallies
from app.core.models import JOB_STATUSES, Job
from app.core.status import is_one_of

# Counting stops here: an exact count of a large record costs more than the page itself.
COUNT_LIMIT = 10_000

Sort = Literal["created_at", "started_at", "completed_at", "progress", "job_type", "status"]
Order = Literal["asc", "desc"]

_TYPES: dict[str, type] = {"progress": int, "id": int, "task": str}
_CREATED = ("created_at", "id")
_STORED = {"scheduled": "pending"}


# A job's columns as attributes, without its arguments, and without a result over _LARGEST_RESULT.
ListedJob = Any

_LARGEST_RESULT = 64 * 1024
_LISTED = [
    *(column for column in Job.__table__.c if column.key not in ("arguments", "result")),
    case((func.pg_column_size(Job.result) <= _LARGEST_RESULT, Job.result)).label("result"),
]


@dataclass(frozen=True)
class Matching:
    """Which jobs. `among` has the keys (`created_at`, `id`) of a few that they are part of."""

    statuses: frozenset[str] | None = None
    conditions: tuple[ColumnElement[bool], ...] = ()
    among: Subquery | None = None

    def where(self, *conditions: ColumnElement[bool]) -> Matching:
        """Those of them for which these hold as well."""
        return replace(self, conditions=(*self.conditions, *conditions))

    def of(self, statuses: frozenset[str] | None) -> Matching:
        """Those of them that are shown with one of these statuses."""
        if statuses is None:
            return self
        return replace(self, statuses=statuses & (self.statuses or statuses))

    @property
    def is_everything(self) -> bool:
        return self.statuses is None and not self.conditions and self.among is None

    @property
    def is_walkable(self) -> bool:
        """Whether one index gives exactly these jobs in the order of their creation."""
        return len(self.conditions) + (self.statuses is not None) <= 1 and self.among is None

    def select(self, *columns: Any) -> Select[Any]:
        """These columns of the matching jobs."""
        query = select(*columns).select_from(Job)
        if self.among is not None:
            keys = self.among.c
            query = query.join(
                self.among, and_(Job.created_at == keys.created_at, Job.id == keys.id)
            )
        if self.statuses is not None:
            query = query.where(is_one_of(self.statuses))
        return query.where(*self.conditions)

    def by_stored_status(self) -> Iterator[Matching]:
        """The same jobs in parts of one stored status each, as the index on it has them."""
        if self.statuses is None:
            yield self
            return
        for stored in JOB_STATUSES:
            part = frozenset(s for s in self.statuses if _STORED.get(s, s) == stored)
            if part:
                yield replace(self, statuses=part)


@dataclass(frozen=True)
class Wanted:
    """Which page of a list."""

    sort: Sort = "created_at"
    order: Order = "desc"
    limit: int = 50
    offset: int = 0
    cursor: str | None = None


@dataclass(frozen=True)
class Page:
    """Some of the jobs that match; `total` is exact unless there are more than COUNT_LIMIT."""

    jobs: Sequence[ListedJob]
    total: int
    total_is_exact: bool
    has_more: bool
    next_cursor: str | None = field(repr=False)


@dataclass(frozen=True)
class _Stretch:
    """Jobs that have one status, or have (not) been started, ordered by `keys`."""

    keys: tuple[str, ...]
    status: str | None = None
    started: bool | None = None
    ended: bool | None = None

    def conditions(self, source: Any) -> list[ColumnElement[bool]]:
        found = []
        if self.status is not None:
            found.append(source.status == literal_column(f"'{self.status}'"))
        if self.started is not None:
            column = source.started_at
            found.append(column.is_not(None) if self.started else column.is_(None))
        if self.ended is not None:
            found.append(source.ended_at.is_not(None))
        return found

    @property
    def columns(self) -> tuple[str, ...]:
        """What it is ordered and told apart by."""
        found = [*self.keys, *_CREATED]
        found += ["status"] if self.status is not None else []
        found += ["started_at"] if self.started is not None else []
        found += ["ended_at"] if self.ended is not None else []
        return tuple(dict.fromkeys(found))

    @property
    def is_by_status(self) -> bool:
        """Whether its index has one status after the other: they are merged then."""
        return self.keys[0] == "progress"

    def may_hold(self, statuses: frozenset[str] | None) -> bool:
        """Whether a job that is shown with one of these statuses can be in it."""
        if statuses is None or self.status is None:
            return True
        return any(_STORED.get(status, status) == self.status for status in statuses)


_STRETCHES: dict[Sort, tuple[_Stretch, ...]] = {
    "created_at": (_Stretch(_CREATED),),
    "started_at": (
        _Stretch(("started_at", "id"), started=True),
        _Stretch(_CREATED, started=False),
    ),
    "completed_at": (
        _Stretch(("ended_at", "id"), ended=True),
        *(_Stretch(_CREATED, status=status) for status in ("running", "retrying", "pending")),
    ),
    "progress": (_Stretch(("progress", *_CREATED)),),
    "job_type": (_Stretch(("task", *_CREATED)),),
    "status": tuple(_Stretch(_CREATED, status=status) for status in JOB_STATUSES),
}


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
    found = tallies.count(session, "status", with_waiting=True)
    return sum(tally.jobs for by_status in found.values() for tally in by_status.values())


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


def count(session: Session, matching: Matching) -> int:
    """How many match; COUNT_LIMIT + 1 where there are more than COUNT_LIMIT."""
    some = matching.select(literal_column("1")).limit(COUNT_LIMIT + 1).subquery()
    return session.scalar(select(func.count()).select_from(some)) or 0


def _read(
    session: Session, matching: Matching, wanted: Wanted, *, is_few: bool
) -> tuple[list[ListedJob], str | None]:
    """The page's jobs, and the cursor of the next page if there is one."""
    stretches = _STRETCHES[wanted.sort]
    if wanted.sort == "status" and wanted.order == "desc":
        stretches = stretches[::-1]
    begin, after = _place(wanted, stretches)
    found: list[ListedJob] = []
    places: list[int] = []
    offset = 0 if wanted.cursor else wanted.offset
    for number in range(begin, len(stretches)):
        stretch = stretches[number]
        if not stretch.may_hold(matching.statuses):
            continue
        missing = wanted.limit + 1 - len(found)
        keys = _keys(
            matching,
            stretch,
            is_few=is_few,
            most=missing + offset,
            after=after if number == begin else None,
            order=wanted.order,
        )
        some = _rows(session, keys, stretch, wanted.order, offset)
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
    wanted: Wanted, stretches: Sequence[_Stretch]
) -> tuple[int, Sequence[cursors.Value] | None]:
    """The stretch that the page begins in, and the keys of the job before it."""
    if wanted.cursor is None:
        return 0, None
    kinds = {
        _purpose(wanted, number): [_TYPES.get(key, datetime) for key in stretch.keys]
        for number, stretch in enumerate(stretches)
    }
    purpose, after = cursors.decode(wanted.cursor, kinds)
    return list(kinds).index(purpose), after


def _cursor(wanted: Wanted, stretches: Sequence[_Stretch], number: int, job: ListedJob) -> str:
    values = [getattr(job, key) for key in stretches[number].keys]
    return cursors.encode(_purpose(wanted, number), values)


def _purpose(wanted: Wanted, stretch: int) -> str:
    return f"jobs {wanted.sort} {wanted.order} {stretch}"


def _keys(
    matching: Matching,
    stretch: _Stretch,
    *,
    is_few: bool,
    most: int,
    after: Sequence[cursors.Value] | None,
    order: Order,
) -> Subquery:
    """The keys of a stretch's next jobs, in any order."""
    columns = [getattr(Job, name) for name in stretch.columns]
    if is_few:
        # The limit keeps the planner from walking the order's index past all that does not match.
        some = matching.select(*columns).limit(COUNT_LIMIT + 1).subquery("matching")
        query = select(*some.c)
        return _ordered(query, some.c, stretch, after, order, most).subquery("keys")
    if stretch.is_by_status and matching.statuses is None:
        parts = list(_of_each_status(matching, columns, stretch, after, order, most))
    else:
        is_split = stretch.is_by_status or stretch == _Stretch(_CREATED)
        parts = [
            query
            for part in (matching.by_stored_status() if is_split else [matching])
            for query in _behind(part, columns, stretch, after, order, most)
        ]
    if len(parts) == 1 and not (stretch.is_by_status and matching.statuses is None):
        return parts[0].subquery("keys")
    merged = union_all(*(select(part.subquery()) for part in parts)).subquery("parts")
    return (
        select(merged).order_by(*_directed(merged.c, stretch, order)).limit(most).subquery("keys")
    )


def _of_each_status(
    matching: Matching,
    columns: Sequence[Any],
    stretch: _Stretch,
    after: Sequence[cursors.Value] | None,
    order: Order,
    most: int,
) -> Iterator[Select[Any]]:
    """The next jobs of every status: one query that runs for each, as planning six costs more."""
    each = select(func.unnest(array(JOB_STATUSES)).label("status")).subquery("each")
    of_each = matching.where(Job.status == each.c.status)
    for query in _behind(of_each, columns, stretch, after, order, most):
        found = query.correlate(each).lateral("found")
        yield select(*found.c).select_from(each.join(found, true()))


def _behind(
    matching: Matching,
    columns: Sequence[Any],
    stretch: _Stretch,
    after: Sequence[cursors.Value] | None,
    order: Order,
    most: int,
) -> Iterator[Select[Any]]:
    """The next jobs behind `after`: those that tie with it, and the others.

    Apart, as the planner judges a comparison of rows by the first column alone: it expects nothing
    behind the last value, which nearly all jobs may have.
    """
    keys = [getattr(Job, key) for key in stretch.keys]
    conditions: list[ColumnElement[bool]] = [true()]
    if after is not None and len(keys) == 2:
        conditions = [_compared(keys, after, order)]
    elif after is not None:
        tied = and_(keys[0] == after[0], _compared(keys[1:], after[1:], order))
        conditions = [tied, keys[0] < after[0] if order == "desc" else keys[0] > after[0]]
    for condition in conditions:
        query = matching.where(condition).select(*columns)
        yield _ordered(query, Job, stretch, None, order, most)


def _ordered(
    query: Select[Any],
    source: Any,
    stretch: _Stretch,
    after: Sequence[cursors.Value] | None,
    order: Order,
    most: int,
) -> Select[Any]:
    query = query.where(*stretch.conditions(source))
    if after is not None:
        query = query.where(_compared([getattr(source, key) for key in stretch.keys], after, order))
    return query.order_by(*_directed(source, stretch, order)).limit(most)


def _compared(
    columns: Sequence[Any], after: Sequence[cursors.Value], order: Order
) -> ColumnElement[bool]:
    here, there = tuple_(*columns), tuple_(*after)
    condition = here < there if order == "desc" else here > there
    if columns[0].key == "created_at":  # the planner leaves out partitions by this one
        bound = columns[0] <= after[0] if order == "desc" else columns[0] >= after[0]
        condition = and_(condition, bound)
    return condition


def _directed(source: Any, stretch: _Stretch, order: Order) -> list[ColumnElement[Any]]:
    columns = [getattr(source, key) for key in stretch.keys]
    return [column.desc() if order == "desc" else column.asc() for column in columns]


def _rows(
    session: Session, keys: Subquery, stretch: _Stretch, order: Order, offset: int
) -> list[ListedJob]:
    query = (
        select(*_LISTED)
        .join(keys, and_(Job.created_at == keys.c.created_at, Job.id == keys.c.id))
        .order_by(*_directed(keys.c, stretch, order))
        .offset(offset or None)
    )
    return list(session.execute(query))
