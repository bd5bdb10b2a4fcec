"""The orders of lists of jobs: the stretches of which each is made, and the indexes' way along them.

Jobs that have started are listed by their start, and behind them those that have not: that is two
stretches, each with an order that an index has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Select,
    Subquery,
    and_,
    func,
    literal_column,
    select,
    true,
    tuple_,
    union_all,
)
from sqlalchemy.dialects.postgresql import array

from app.core.cursors import Value
from app.core.job_matching import COUNT_LIMIT, STORED, Matching
from app.core.models import JOB_STATUSES, Job

Sort = Literal["created_at", "started_at", "completed_at", "progress", "job_type", "status"]
Order = Literal["asc", "desc"]

_CREATED = ("created_at", "id")
_TYPES: dict[str, type] = {"progress": int, "id": int, "task": str}


@dataclass(frozen=True)
class Stretch:
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
    def kinds(self) -> list[type]:
        """The types of its keys."""
        return [_TYPES.get(key, datetime) for key in self.keys]

    @property
    def is_by_status(self) -> bool:
        """Whether its index has one status after the other: they are merged then."""
        return self.keys[0] == "progress"

    def may_hold(self, statuses: frozenset[str] | None) -> bool:
        """Whether a job that is shown with one of these statuses can be in it."""
        if statuses is None or self.status is None:
            return True
        return any(STORED.get(status, status) == self.status for status in statuses)


STRETCHES: dict[Sort, tuple[Stretch, ...]] = {
    "created_at": (Stretch(_CREATED),),
    "started_at": (
        Stretch(("started_at", "id"), started=True),
        Stretch(_CREATED, started=False),
    ),
    "completed_at": (
        Stretch(("ended_at", "id"), ended=True),
        *(Stretch(_CREATED, status=status) for status in ("running", "retrying", "pending")),
    ),
    "progress": (Stretch(("progress", *_CREATED)),),
    "job_type": (Stretch(("task", *_CREATED)),),
    "status": tuple(Stretch(_CREATED, status=status) for status in JOB_STATUSES),
}


def keys_of(
    matching: Matching,
    stretch: Stretch,
    *,
    is_few: bool,
    most: int,
    after: Sequence[Value] | None,
    order: Order,
) -> Subquery:
    """The keys of a stretch's next jobs, in any order."""
    columns = [getattr(Job, name) for name in stretch.columns]
    if is_few:
        # The limit keeps the planner from walking the order's index past all that does not match.
        some = _few(matching, columns).limit(COUNT_LIMIT + 1).subquery("matching")
        query = select(*some.c)
        return _ordered(query, some.c, stretch, after, order, most).subquery("keys")
    if stretch.is_by_status and matching.statuses is None:
        parts = list(_of_each_status(matching, columns, stretch, after, order, most))
    else:
        is_split = stretch.is_by_status or stretch == Stretch(_CREATED)
        parts = [
            query
            for part in (matching.by_stored_status() if is_split else [matching])
            for query in _behind(part, columns, stretch, after, order, most)
        ]
    if len(parts) == 1 and not (stretch.is_by_status and matching.statuses is None):
        return parts[0].subquery("keys")
    return _merged(parts, stretch, order, most)


def newest(matching: Matching, columns: Sequence[Any], most: int) -> Subquery:
    """Columns, `created_at` and `id` among them, of the newest jobs, in any order."""
    if matching.among is not None:  # a few: no order's index leads to them
        return _few(matching, columns).limit(most).subquery("newest")
    stretch = Stretch(_CREATED)
    parts = [
        _ordered(part.select(*columns), Job, stretch, None, "desc", most)
        for part in matching.by_stored_status()
    ]
    if len(parts) > 1:
        return _merged(parts, stretch, "desc", most)
    return (parts[0] if parts else matching.select(*columns)).subquery("newest")


def _few(matching: Matching, columns: Sequence[Any]) -> Select[Any]:
    """Columns of jobs of which there are few, in any order.

    Those that are among some keys are looked up one by one: the planner, which can't tell how many
    there are, may read all jobs to join them.
    """
    keys = matching.among
    if keys is None:
        return matching.select(*columns)
    each = replace(matching, among=None).where(
        Job.created_at == keys.c.created_at, Job.id == keys.c.id
    )
    job = each.select(*columns).limit(1).correlate(keys).lateral("job")
    return select(*job.c).select_from(keys.join(job, true()))


def _merged(parts: Sequence[Select[Any]], stretch: Stretch, order: Order, most: int) -> Subquery:
    merged = union_all(*(select(part.subquery()) for part in parts)).subquery("parts")
    return select(merged).order_by(*directed(merged.c, stretch, order)).limit(most).subquery("keys")


def _of_each_status(
    matching: Matching,
    columns: Sequence[Any],
    stretch: Stretch,
    after: Sequence[Value] | None,
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
    stretch: Stretch,
    after: Sequence[Value] | None,
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
    stretch: Stretch,
    after: Sequence[Value] | None,
    order: Order,
    most: int,
) -> Select[Any]:
    query = query.where(*stretch.conditions(source))
    if after is not None:
        query = query.where(_compared([getattr(source, key) for key in stretch.keys], after, order))
    return query.order_by(*directed(source, stretch, order)).limit(most)


def _compared(columns: Sequence[Any], after: Sequence[Value], order: Order) -> ColumnElement[bool]:
    here, there = tuple_(*columns), tuple_(*after)
    condition = here < there if order == "desc" else here > there
    if columns[0].key == "created_at":  # the planner leaves out partitions by this one
        bound = columns[0] <= after[0] if order == "desc" else columns[0] >= after[0]
        condition = and_(condition, bound)
    return condition


def directed(source: Any, stretch: Stretch, order: Order) -> list[ColumnElement[Any]]:
    columns = [getattr(source, key) for key in stretch.keys]
    return [column.desc() if order == "desc" else column.asc() for column in columns]


def stretches_of(sort: Sort, order: Order) -> Sequence[Stretch]:
    """A list's stretches, the first one first."""
    stretches = STRETCHES[sort]
    return stretches[::-1] if sort == "status" and order == "desc" else stretches
