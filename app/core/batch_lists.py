"""Lists of batches: filtered, in any order, in pages whose cost does not grow with the history.

A list is walked along the indexes (app.core.batch_orders), forth and back. Where few batches match,
COUNT_LIMIT at most, they are found by the filters' own indexes and sorted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from app.core import batch_matching, cursors
from app.core.batch_matching import COUNT_LIMIT, BatchFilters, Matching
from app.core.batch_orders import Order, Sort, Stretch, stretches_of
from app.core.models import Batch

Way = Literal["next", "previous"]


@dataclass(frozen=True)
class Wanted:
    """Which page of a list; `cursor` is one that a page of the same order gave."""

    sort: Sort = "created"
    order: Order = "desc"
    limit: int = 50
    cursor: str | None = None


@dataclass(frozen=True)
class Page:
    """Some of the batches that match; `total` is exact unless there are more than COUNT_LIMIT.

    `first` is the place of its first batch, 1 at the beginning; what came or went since the pages
    before were read is not counted in. `looked_at`: how many of the newest were searched, where
    not all.
    """

    batches: list[Batch]
    total: int
    total_is_exact: bool
    first: int
    previous_cursor: str | None
    next_cursor: str | None
    looked_at: int | None = None


@dataclass(frozen=True)
class _Row:
    """A batch's place: its stretch, its number and what it is ordered by."""

    stretch: Stretch
    number: int
    values: tuple[Any, ...]


def page(session: Session, filters: BatchFilters, wanted: Wanted) -> Page:
    """A page of the batches that meet the filters. Raises Invalid (a filter, the cursor)."""
    matching = batch_matching.match(session, filters)
    counted = batch_matching.count(session, matching)
    return _Walk(session, matching, counted, filters.owner_id, wanted).page()


def walk(session: Session, filters: BatchFilters, wanted: Wanted) -> Iterator[list[Batch]]:
    """All of them in order, `wanted.limit` at once; in between the caller may end the transaction."""
    matching = batch_matching.match(session, filters)
    counted = batch_matching.count(session, matching)
    while True:
        found = _Walk(session, matching, counted, filters.owner_id, wanted).page()
        yield found.batches
        if found.next_cursor is None:
            return
        wanted = replace(wanted, cursor=found.next_cursor)


class _Walk:
    """One page's way along a list's stretches."""

    def __init__(
        self,
        session: Session,
        matching: Matching,
        counted: int,
        owner_id: int | None,
        wanted: Wanted,
    ) -> None:
        self._session = session
        self._matching = matching
        self._counted = counted
        self._wanted = wanted
        self._stretches = stretches_of(session, wanted.sort, wanted.order, owner_id)
        is_walked = matching.is_everything or (wanted.sort == "created" and matching.is_walkable)
        self._is_few = counted <= COUNT_LIMIT and not is_walked

    def page(self) -> Page:
        batch_matching.plan_anew(self._session)
        limit = self._wanted.limit
        way, begin, after, place = self._place()
        rows = self._rows(way, begin, after)
        has_more = len(rows) > limit
        rows = rows[:limit]
        if way == "previous":
            if len(rows) < limit:  # the beginning came nearer: all of the first page
                self._wanted = replace(self._wanted, cursor=None)
                return self.page()
            rows.reverse()
            place = max(place - limit, 0) if has_more else 0
        has_previous = has_more if way == "previous" else place > 0
        has_next = True if way == "previous" else has_more
        return Page(
            batches=self._loaded(rows),
            total=min(self._counted, COUNT_LIMIT),
            total_is_exact=self._counted <= COUNT_LIMIT,
            first=place + 1,
            previous_cursor=self._cursor("previous", rows[0], place)
            if has_previous and rows
            else None,
            next_cursor=self._cursor("next", rows[-1], place + len(rows))
            if has_next and rows
            else None,
            looked_at=self._matching.looked_at,
        )

    def _rows(self, way: Way, begin: int, after: Sequence[cursors.Value] | None) -> list[_Row]:
        """One more than the page holds, if there is, in the order of the way."""
        step = 1 if way == "next" else -1
        end = len(self._stretches) if way == "next" else -1
        found: list[_Row] = []
        for number in range(begin, end, step):
            missing = self._wanted.limit + 1 - len(found)
            if missing <= 0:
                break
            found += self._of(
                self._stretches[number], way, after if number == begin else None, missing
            )
        return found

    def _of(
        self,
        stretch: Stretch,
        way: Way,
        after: Sequence[cursors.Value] | None,
        most: int,
    ) -> list[_Row]:
        keys: list[Any] = [key.column.label(f"key_{key.name}") for key in stretch.keys]
        query = self._matching.select(Batch.number.label("batch_number"), *keys)
        if stretch.condition is not None:
            query = query.where(stretch.condition)
        columns: list[Any] = [key.column for key in stretch.keys]
        if self._is_few:
            # The limit keeps the planner from walking the order's index past all that doesn't match.
            some = query.limit(COUNT_LIMIT + 1).subquery("some")
            columns = [some.c[f"key_{key.name}"] for key in stretch.keys]
            query = select(some.c.batch_number, *columns)
        is_falling = (self._wanted.order == "desc" or not stretch.turns) == (way == "next")
        if after is not None:
            here, there = tuple_(*columns), tuple_(*after)
            query = query.where(here < there if is_falling else here > there)
        order = [column.desc() if is_falling else column.asc() for column in columns]
        rows = self._session.execute(query.order_by(*order).limit(most))
        return [_Row(stretch, row[0], tuple(row[1:])) for row in rows]

    def _loaded(self, rows: Sequence[_Row]) -> list[Batch]:
        numbers = [row.number for row in rows]
        found = {
            batch.number: batch
            for batch in self._session.scalars(select(Batch).where(Batch.number.in_(numbers)))
        }
        return [found[number] for number in numbers if number in found]

    def _place(self) -> tuple[Way, int, Sequence[cursors.Value] | None, int]:
        """The way, the stretch it begins in, the keys of the batch before, and how many are before."""
        if self._wanted.cursor is None:
            return "next", 0, None, 0
        ways: tuple[Way, ...] = ("next", "previous")
        places = {
            self._purpose(way, stretch): (way, number)
            for way in ways
            for number, stretch in enumerate(self._stretches)
        }
        kinds = {
            purpose: [*self._stretches[number].kinds, int]
            for purpose, (_, number) in places.items()
        }
        purpose, (*after, place) = cursors.decode(self._wanted.cursor, kinds)
        way, number = places[purpose]
        return way, number, after, max(int(place), 0)  # type: ignore[arg-type]

    def _cursor(self, way: Way, row: _Row, place: int) -> str:
        return cursors.encode(self._purpose(way, row.stretch), [*row.values, place])

    def _purpose(self, way: Way, stretch: Stretch) -> str:
        return f"batches {self._wanted.sort} {self._wanted.order} {way} {stretch.name}"
