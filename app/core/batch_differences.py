"""Where the answers of some batches differ, request by request: matched by custom_id, failures first.

First come the requests that failed in one of the batches, then the others; each batch's in input
order, but for those that came with a batch before it. A page reads so many requests at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import and_, case, func, select
from sqlalchemy.orm import Session

from app.core import cursors, exchanges
from app.core.batch_matching import plan_anew
from app.core.models import FINAL, Batch, Request, Result

Way = Literal["failed", "answered"]
Status = Literal["failed", "completed", "waiting", "unanswered", "absent"]

# So many requests are compared for one page, so many at once.
MOST_COMPARED = 1_000
_AT_ONCE = 100
# Longer answers are told apart, but not shown.
_LARGEST = 128 * 1024
_WAYS: tuple[Way, ...] = ("failed", "answered")


@dataclass(frozen=True)
class Side:
    """A request in one of the batches; `words` is its answer or what went wrong."""

    status: Status
    line: int | None = None
    words: str | None = None
    digest: str | None = None  # of an answer that is too long to be read here

    @property
    def said(self) -> object:
        """What two are equal by."""
        return self.status, self.words, self.digest


@dataclass(frozen=True)
class Difference:
    """A request that stands or reads differently: one side for each batch.

    `differs_at` is where its answers part, in characters, if all have one and the same status.
    """

    custom_id: str
    sides: list[Side]
    differs_at: int | None

    @property
    def is_of_status(self) -> bool:
        return len({side.status for side in self.sides}) > 1


@dataclass(frozen=True)
class DifferencePage:
    """Some differences; `compared` is how many requests were, each once, from the first page on."""

    differences: list[Difference]
    compared: int
    next_cursor: str | None


def page(
    session: Session, batches: Sequence[Batch], *, cursor: str | None = None, limit: int = 25
) -> DifferencePage:
    """A page. Raises Invalid (the cursor)."""
    plan_anew(session)
    way, number, line, compared = _place(cursor, len(batches))
    read = 0
    found: list[Difference] = []
    while True:
        rows = _candidates(session, batches[number], way, line)
        for custom_id, sides in _sides(session, batches, [row.custom_id for row in rows]):
            read += 1
            line = sides[number].line or line
            if not _is_first(sides, way, number):
                continue
            compared += 1
            difference = _difference(custom_id, sides)
            if difference is not None:
                found.append(difference)
                if len(found) == limit:
                    break
        if len(found) == limit or read >= MOST_COMPARED:
            return DifferencePage(found, compared, _cursor(way, number, line, compared))
        if len(rows) < _AT_ONCE:
            number, line = number + 1, 0
        if number == len(batches):
            if way == _WAYS[-1]:
                return DifferencePage(found, compared, None)
            way, number = _WAYS[_WAYS.index(way) + 1], 0


def _candidates(session: Session, batch: Batch, way: Way, after: int) -> Sequence[Any]:
    """The next requests of a batch in input order."""
    query = select(Request.line, Request.custom_id).where(
        Request.batch_number == batch.number, Request.line > after
    )
    if way == "failed":
        query = query.join(
            Result, and_(Result.batch_number == Request.batch_number, Result.line == Request.line)
        ).where(Result.batch_number == batch.number, Result.line > after, ~Result.is_success)
        return session.execute(query.order_by(Result.line).limit(_AT_ONCE)).all()
    return session.execute(query.order_by(Request.line).limit(_AT_ONCE)).all()


def _sides(
    session: Session, batches: Sequence[Batch], custom_ids: Sequence[str]
) -> list[tuple[str, list[Side]]]:
    """What became of some requests in each of the batches, in the order given."""
    if not custom_ids:
        return []
    known: dict[tuple[int, str], Side] = {}
    for batch in batches:
        rows = session.execute(
            select(
                Request.line,
                Request.custom_id,
                Result.is_success,
                Result.error,
                case((func.octet_length(Result.body) <= _LARGEST, Result.body)).label("body"),
                case((func.octet_length(Result.body) > _LARGEST, func.md5(Result.body))).label(
                    "digest"
                ),
            )
            .join(
                Result,
                and_(Result.batch_number == Request.batch_number, Result.line == Request.line),
                isouter=True,
            )
            .where(Request.batch_number == batch.number, Request.custom_id.in_(custom_ids))
        )
        for row in rows:
            known[batch.number, row.custom_id] = _side(row, batch.status in FINAL)
    return [
        (custom_id, [known.get((batch.number, custom_id), Side("absent")) for batch in batches])
        for custom_id in custom_ids
    ]


def _side(row: Any, is_final: bool) -> Side:
    if row.is_success is None:
        return Side("unanswered" if is_final else "waiting", row.line)
    if not row.is_success:
        return Side("failed", row.line, exchanges.fault(row.error or row.body).message)
    return Side("completed", row.line, exchanges.answer(exchanges.load(row.body)), row.digest)


def _is_first(sides: Sequence[Side], way: Way, number: int) -> bool:
    """Whether it did not come before: with an earlier batch, or with the failures."""
    if way == "failed":
        return all(side.status != "failed" for side in sides[:number])
    is_new = all(side.status == "absent" for side in sides[:number])
    return is_new and all(side.status != "failed" for side in sides)


def _difference(custom_id: str, sides: list[Side]) -> Difference | None:
    if all(side.said == sides[0].said for side in sides):
        return None
    texts = [
        side.words for side in sides if side.words is not None and side.status == sides[0].status
    ]
    return Difference(custom_id, sides, _parting(texts) if len(texts) == len(sides) else None)


def _parting(texts: Sequence[str]) -> int:
    """How many characters the texts have in common at their beginning."""
    shortest, longest = min(texts), max(texts)  # by the alphabet: these two part first
    for place, (one, other) in enumerate(zip(shortest, longest, strict=False)):
        if one != other:
            return place
    return min(len(shortest), len(longest))


def _place(cursor: str | None, batches: int) -> tuple[Way, int, int, int]:
    if cursor is None:
        return "failed", 0, 0, 0
    kinds = {
        f"differences {way} {number}": [int, int] for way in _WAYS for number in range(batches)
    }
    purpose, (line, compared) = cursors.decode(cursor, kinds)
    _, way, number = purpose.split()
    return way, int(number), int(line), max(int(compared), 0)  # type: ignore[return-value, arg-type]


def _cursor(way: Way, number: int, line: int, compared: int) -> str:
    return cursors.encode(f"differences {way} {number}", [line, compared])
