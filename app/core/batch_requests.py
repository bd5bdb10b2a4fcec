"""A batch's requests one by one: listed with the failures first, searched by custom_id, opened."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, and_, case, func, null, select
from sqlalchemy.orm import Session

from app.core import cursors, exchanges, storage
from app.core.batch_matching import escaped, plan_anew
from app.core.errors import Invalid, NotFound
from app.core.exchanges import Fault, Part
from app.core.models import FINAL, Batch, Request, Result
from app.core.results import Usage, read_usage
from app.core.settings import Settings

Status = Literal["failed", "completed", "waiting"]
STATUSES: tuple[Status, ...] = ("failed", "completed", "waiting")

LONGEST_SEARCH = 512
# An answer that is longer is not read for a list.
_LARGEST_LISTED = 64 * 1024
# What is shown of a body, and what is read of one line of the input file.
LARGEST_SHOWN = 256 * 1024
# In so many lines at once it is looked for some without a result, and so often for a page.
_WINDOW = 50_000
_WINDOWS = 4

NO_USAGE = Usage()
BODY = case((func.octet_length(Result.body) <= _LARGEST_LISTED, Result.body))


@dataclass(frozen=True)
class Listed:
    """One request with how it stands; `words` is its answer or what went wrong, None where unread."""

    line: int
    custom_id: str
    status: Status
    words: str | None = None
    fault: Fault | None = None
    status_code: int | None = None
    usage: Usage = NO_USAGE
    seconds: float | None = None
    tries: int = 0


@dataclass(frozen=True)
class RequestPage:
    """Some requests; with a cursor, more may follow."""

    requests: list[Listed]
    next_cursor: str | None


def page(
    session: Session,
    batch: Batch,
    *,
    status: Status | None = None,
    search: str = "",
    cursor: str | None = None,
    limit: int = 50,
) -> RequestPage:
    """A page: those that failed, those that were answered, those that wait, each in input order.

    `search` is how a custom_id begins. Raises Invalid (the search, the cursor).
    """
    if len(search) > LONGEST_SEARCH or "\0" in search:
        raise Invalid(
            f"q must be the beginning of a custom_id, {LONGEST_SEARCH} characters at most.",
            param="q",
        )
    plan_anew(session)
    begins = Request.custom_id.like(escaped(search) + "%") if search else None
    begin, after = _place(cursor)
    found: list[Listed] = []
    for each in STATUSES[STATUSES.index(begin) :]:
        if status not in (None, each) or not _may_have(batch, each):
            continue
        line = after if each == begin else 0
        missing = limit + 1 - len(found)
        some, reached = _of(session, batch, each, begins, line, missing)
        found += some
        if len(found) > limit:
            last = found[limit - 1]
            return RequestPage(found[:limit], _cursor(last.status, last.line))
        if reached is not None:
            return RequestPage(found, _cursor(each, reached))
    return RequestPage(found, None)


def _may_have(batch: Batch, status: Status) -> bool:
    """So that a walk past all of one kind for none of the other is not begun."""
    if status == "waiting":
        return batch.completed + batch.failed < batch.total or batch.total == 0
    return bool(batch.completed if status == "completed" else batch.failed)


def _of(
    session: Session,
    batch: Batch,
    status: Status,
    begins: ColumnElement[bool] | None,
    after: int,
    most: int,
) -> tuple[list[Listed], int | None]:
    """The next ones of a kind; and the line until which was looked, if that is not the last."""
    if status != "waiting":
        condition = Result.is_success if status == "completed" else ~Result.is_success
        query = results_of(batch.number).where(Request.line > after, condition)
        if begins is not None:
            query = query.where(begins)
        rows = session.execute(query.order_by(Result.line).limit(most))
        return [listed(row) for row in rows], None
    return _unanswered(session, batch, begins, after, most)


def results_of(batch_number: int) -> Select[Any]:
    """A batch's requests that have a result, with what a list shows of them."""
    return (
        select(
            Request.line,
            Request.custom_id,
            Result.is_success,
            Result.status_code,
            BODY.label("body"),
            Result.error,
            Result.tries,
            Result.last_tried_at,
            Result.created_at,
        )
        .join(
            Request, and_(Request.batch_number == Result.batch_number, Request.line == Result.line)
        )
        .where(Result.batch_number == batch_number)
    )


def _unanswered(
    session: Session,
    batch: Batch,
    begins: ColumnElement[bool] | None,
    after: int,
    most: int,
) -> tuple[list[Listed], int | None]:
    found: list[Listed] = []
    last = session.scalar(
        select(Request.line)
        .where(Request.batch_number == batch.number)
        .order_by(Request.line.desc())
        .limit(1)
    )
    for _ in range(_WINDOWS):
        if last is None or after >= last:
            return found, None
        query = (
            select(Request.line, Request.custom_id)
            .join(
                Result,
                and_(Result.batch_number == Request.batch_number, Result.line == Request.line),
                isouter=True,
            )
            .where(
                Request.batch_number == batch.number,
                Request.line > after,
                Request.line <= after + _WINDOW,
                Result.line.is_(null()),
            )
        )
        if begins is not None:
            query = query.where(begins)
        rows = session.execute(query.order_by(Request.line).limit(most - len(found)))
        found += [Listed(row.line, row.custom_id, "waiting") for row in rows]
        if len(found) >= most:
            return found, None
        after += _WINDOW
    return found, after if last is not None and after < last else None


def listed(row: Any) -> Listed:
    """A row of `results_of` in words."""
    body = exchanges.load(row.body)
    status: Status = "completed" if row.is_success else "failed"
    fault = None if row.is_success else exchanges.fault(row.error or row.body)
    return Listed(
        line=row.line,
        custom_id=row.custom_id,
        status=status,
        words=fault.message if fault is not None else exchanges.answer(body),
        fault=fault,
        status_code=row.status_code,
        usage=read_usage(body),
        seconds=_seconds(row.last_tried_at, row.created_at),
        tries=row.tries,
    )


def _seconds(began: datetime, ended: datetime) -> float:
    return max((ended - began).total_seconds(), 0.0)


def _place(cursor: str | None) -> tuple[Status, int]:
    if cursor is None:
        return "failed", 0
    purpose, (line,) = cursors.decode(cursor, {f"requests {each}": [int] for each in STATUSES})
    return next(each for each in STATUSES if purpose.endswith(each)), int(line)  # type: ignore[arg-type]


def _cursor(status: Status, line: int) -> str:
    return cursors.encode(f"requests {status}", [line])


@dataclass(frozen=True)
class Opened:
    """One request with all that is known of it; bodies are None where they are gone or too large."""

    listed: Listed
    question: list[Part]
    parameters: dict[str, Any]
    asked: str | None
    asked_bytes: int
    answered: str | None
    answered_bytes: int
    reasoning: str | None
    finish_reason: str | None
    created_at: datetime | None
    is_final: bool

    @property
    def is_too_large(self) -> bool:
        """Whether the answer is there, and too large for a page."""
        return self.answered is None and self.answered_bytes > 0


def open_one(session: Session, settings: Settings, batch: Batch, line: int) -> Opened:
    """One request of a batch. Raises NotFound."""
    request = session.get(Request, (batch.number, line)) if 0 < line < 2**31 else None
    if request is None:
        raise NotFound(f"The batch has no request in line {line}.", param="line", code="not_found")
    row = session.execute(
        select(
            Result.is_success,
            Result.status_code,
            Result.error,
            Result.tries,
            Result.last_tried_at,
            Result.created_at,
            case((func.octet_length(Result.body) <= LARGEST_SHOWN, Result.body)).label("body"),
            func.coalesce(func.octet_length(Result.body), 0).label("bytes"),
            Request.line,
            Request.custom_id,
        )
        .join(
            Request, and_(Request.batch_number == Result.batch_number, Request.line == Result.line)
        )
        .where(Result.batch_number == batch.number, Result.line == line)
    ).one_or_none()
    asked = read_line(settings, batch.input_file_id, request)
    body = _body_of(asked)
    answered = exchanges.load(row.body) if row is not None else None
    return Opened(
        listed=listed(row) if row is not None else Listed(line, request.custom_id, "waiting"),
        question=exchanges.question(body),
        parameters=exchanges.parameters(body),
        asked=asked,
        asked_bytes=request.length,
        answered=row.body if row is not None else None,
        answered_bytes=row.bytes if row is not None else 0,
        reasoning=exchanges.reasoning(answered),
        finish_reason=exchanges.finish_reason(answered),
        created_at=row.created_at if row is not None else None,
        is_final=batch.status in FINAL,
    )


def read_line(settings: Settings, file_id: str, request: Request) -> str | None:
    """The request as it was uploaded; None where the file is gone, or the line too large to show."""
    return next(iter(read_lines(settings, file_id, [request])), None)


def read_lines(settings: Settings, file_id: str, requests: Iterable[Request]) -> list[str | None]:
    """The same of some of a file's lines."""
    try:
        with storage.path(settings, file_id).open("rb") as source:
            found: list[str | None] = []
            for request in requests:
                if request.length > LARGEST_SHOWN:
                    found.append(None)
                    continue
                source.seek(request.position)
                found.append(source.read(request.length).decode("utf-8", "replace"))
            return found
    except OSError:
        return []


def _body_of(line: str | None) -> Any:
    request = exchanges.load(line)
    return request.get("body") if isinstance(request, dict) else None
