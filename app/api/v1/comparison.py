"""/v1/jobs/compare: two to four batches side by side, and where their answers differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import orjson
from flask import Blueprint, g
from pydantic import Field
from sqlalchemy.orm import Session

from app.api.openapi import Answer, Limit, Query, describe, read_query
from app.auth import needs
from app.core import batch_comparison, batch_differences
from app.core.batch_comparison import VARIES, Compared
from app.core.batch_differences import Difference, Side
from app.core.history import native_status
from app.core.models import Batch
from app.extensions import current_settings, db

blueprint = Blueprint("comparison", __name__, url_prefix="/jobs/compare")

# So much of an answer is given, from a little before the place where it parts from the others.
_BEFORE, _SHOWN = 60, 2000


class CompareQuery(Query):
    """GET /v1/jobs/compare."""

    ids: Annotated[str, Field(max_length=1000)] = Field(
        "", description="Two to four batches, separated by commas."
    )

    def batches(self, session: Session) -> list[Batch]:
        """In the order given. Raises Invalid, NotFound."""
        ids = [each for each in (part.strip() for part in self.ids.split(",")) if each]
        return batch_comparison.find(session, ids, g.actor.owner_filter)


class DifferenceQuery(CompareQuery):
    """GET /v1/jobs/compare/differences."""

    cursor: str | None = Field(None, description="`next_cursor` of the page before.")
    limit: Limit(25, 100)  # type: ignore[valid-type]


class Parameter(Answer):
    """A parameter of the requests' bodies; where it `varies` from line to line, without a value."""

    value: Any
    varies: bool


class ComparedBatch(Answer):
    """One of the batches. Times are in seconds, rates per second of running.

    `parameters` are those of the first `lines_read` lines; none were read where the file is gone.
    `errors` counts failed requests by kind, of the first 5,000 where `errors_are_cut`.
    """

    id: str
    status: str
    model: str | None
    endpoint: str
    completion_window: str
    priority: int
    input_file_id: str
    input_filename: str | None
    engine: dict[str, Any]
    parameters: dict[str, Parameter]
    lines_read: int
    total: int
    completed: int
    failed: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    engine_deaths: int
    errors: dict[str, int]
    errors_are_cut: bool
    wait_seconds: float | None
    model_load_seconds: float | None
    run_seconds: float | None
    requests_per_second: float | None
    tokens_per_second: float | None


class Comparison(Answer):
    """The batches in the order asked for; `different` names what is not the same of all, times aside.

    Parts of a field have its name before theirs, like `engine.version`.
    """

    batches: list[ComparedBatch]
    different: list[str]


class DifferentSide(Answer):
    """The request in one of the batches: `text` is of its answer, or of what went wrong.

    `text` begins with character `text_from`, where `is_cut` there is more of it; an answer that is too
    long to be compared word by word has none.
    """

    batch_id: str
    status: Literal["failed", "completed", "waiting", "unanswered", "absent"]
    request_index: int | None
    text: str | None
    text_from: int
    is_cut: bool


class DifferentRequest(Answer):
    """A request that stands or reads differently; answers of one status part after `differs_at` characters."""

    custom_id: str
    status_differs: bool
    differs_at: int | None
    sides: list[DifferentSide]


class Differences(Answer):
    """A page, failures first; `compared` counts the requests that were compared from the first page on.

    A page that has compared enough may be short, or empty, and still have a next one.
    """

    differences: list[DifferentRequest]
    compared: int
    limit: int
    next_cursor: str | None
    has_more: bool


@blueprint.get("")
@needs("read")
@describe(query=CompareQuery, answer=Comparison)
def show() -> Comparison:
    """What was asked for, what ran it, how long it took and what failed, for each of the batches."""
    session = db.session()
    batches = read_query(CompareQuery).batches(session)
    found = batch_comparison.compare(session, current_settings(), batches)
    compared = [_compared(each) for each in found]
    return Comparison(batches=compared, different=list(_different(compared)))


@blueprint.get("/differences")
@needs("read")
@describe(query=DifferenceQuery, answer=Differences)
def list_differences() -> Differences:
    """Where the answers differ, request by request, matched by custom_id."""
    session = db.session()
    asked = read_query(DifferenceQuery)
    batches = asked.batches(session)
    page = batch_differences.page(session, batches, cursor=asked.cursor, limit=asked.limit)
    return Differences(
        differences=[_difference(each, batches) for each in page.differences],
        compared=page.compared,
        limit=asked.limit,
        next_cursor=page.next_cursor,
        has_more=page.next_cursor is not None,
    )


_OWN = (
    *("id", "model", "endpoint", "completion_window", "priority", "input_file_id"),
    *("input_filename", "total", "completed", "failed", "input_tokens", "cached_tokens"),
    *("output_tokens", "reasoning_tokens", "engine_deaths", "model_load_seconds"),
)
_TIMES = ("wait_seconds", "run_seconds", "requests_per_second", "tokens_per_second")
_SAME = (
    *("model", "endpoint", "completion_window", "priority", "total", "completed", "failed"),
    *("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "engine_deaths"),
)


def _compared(each: Compared) -> ComparedBatch:
    return ComparedBatch(
        **{name: getattr(each.batch, name) for name in _OWN},
        **{name: getattr(each, name) for name in _TIMES},
        status=native_status(each.batch),
        engine=each.batch.engine or {},
        parameters={name: _parameter(value) for name, value in each.parameters.values.items()},
        lines_read=each.parameters.lines,
        errors=each.errors.kinds,
        errors_are_cut=each.errors.is_cut,
    )


def _parameter(value: str) -> Parameter:
    if value == VARIES:
        return Parameter(value=None, varies=True)
    return Parameter(value=orjson.loads(value), varies=False)


def _different(batches: Sequence[ComparedBatch]) -> Iterator[str]:
    for name in _SAME:
        if _differ([getattr(each, name) for each in batches]):
            yield name
    # As the page names the file: two uploads of the same name are taken for the same.
    if _differ([each.input_filename or each.input_file_id for each in batches]):
        yield "input_filename"
    for field in ("engine", "parameters", "errors"):
        parts = [getattr(each, field) for each in batches]
        for name in dict.fromkeys(name for part in parts for name in part):
            if _differ([part.get(name) for part in parts]):
                yield f"{field}.{name}"


def _differ(values: Sequence[object]) -> bool:
    return any(value != values[0] for value in values)


def _difference(each: Difference, batches: Sequence[Batch]) -> DifferentRequest:
    return DifferentRequest(
        custom_id=each.custom_id,
        status_differs=each.is_of_status,
        differs_at=each.differs_at,
        sides=[
            _side(side, batch, each.differs_at)
            for side, batch in zip(each.sides, batches, strict=True)
        ],
    )


def _side(side: Side, batch: Batch, differs_at: int | None) -> DifferentSide:
    words = side.words or ""
    begin = max(0, (differs_at or 0) - _BEFORE)
    return DifferentSide(
        batch_id=batch.id,
        status=side.status,
        request_index=None if side.line is None else side.line - 1,
        text=None if side.words is None else words[begin : begin + _SHOWN],
        text_from=begin,
        is_cut=len(words) > begin + _SHOWN,
    )
