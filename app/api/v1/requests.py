"""/v1/batches/{batch_id}/requests: a batch's requests one by one, and what was answered."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from flask import Blueprint, g
from pydantic import Field

from app.api.openapi import Answer, Limit, Query, describe, read_query
from app.api.v1.objects import unix
from app.auth import needs
from app.core import batch_requests, batches
from app.core.batch_requests import LONGEST_SEARCH, Listed
from app.core.errors import NotFound
from app.core.models import Batch
from app.extensions import current_settings, db

blueprint = Blueprint("requests", __name__, url_prefix="/batches/<batch_id>/requests")

# What a list gives of an answer, in characters.
_LISTED = 2000


class RequestQuery(Query):
    """GET /v1/batches/{batch_id}/requests."""

    status: Literal["failed", "completed", "waiting"] | None = Field(
        None, description="Those that an ended batch did not answer count as waiting."
    )
    q: Annotated[str, Field(max_length=LONGEST_SEARCH)] | None = Field(
        None, description="How the custom_id begins."
    )
    cursor: str | None = Field(None, description="`next_cursor` of the page before.")
    limit: Limit(50, 500)  # type: ignore[valid-type]


class RequestCounts(Answer):
    """How many requests the batch has in all, of each kind, whatever was asked for."""

    total: int
    failed: int
    completed: int
    waiting: int


class BatchRequest(Answer):
    """One request with how it stands: `request_index` 0 is the file's first line.

    `unanswered` is what waits in a batch that has ended. An `answer` that `is_cut` has more, or (null)
    was too long for a list.
    """

    request_index: int
    custom_id: str
    status: Literal["failed", "completed", "waiting", "unanswered"]
    answer: str | None
    is_cut: bool
    error_type: str | None
    error_message: str | None
    status_code: int | None
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    duration_seconds: float | None
    tries: int


class BatchRequests(Answer):
    """A page: those that failed, those that were answered, those that wait, each in input order."""

    batch_id: str
    requests: list[BatchRequest]
    counts: RequestCounts
    limit: int
    next_cursor: str | None
    has_more: bool


class Message(Answer):
    """A part of what was asked."""

    role: str
    text: str


class BatchRequestDetail(BatchRequest):
    """The same with what was asked and answered: JSON as text, null where it is gone or too large."""

    batch_id: str
    question: list[Message]
    parameters: dict[str, Any]
    asked: str | None
    asked_bytes: int
    answered: str | None
    answered_bytes: int
    reasoning: str | None
    finish_reason: str | None
    created_at: int | None


@blueprint.get("")
@needs("read")
@describe(query=RequestQuery, answer=BatchRequests)
def index(batch_id: str) -> BatchRequests:
    """A page of a batch's requests, the failed ones first, with what was answered."""
    asked = read_query(RequestQuery)
    session = db.session()
    batch = _found(batch_id)
    page = batch_requests.page(
        session,
        batch,
        status=asked.status,
        search=(asked.q or "").strip(),
        cursor=asked.cursor,
        limit=asked.limit,
    )
    return BatchRequests(
        batch_id=batch.id,
        requests=[BatchRequest(**_listed(each, batch)) for each in page.requests],
        counts=RequestCounts(
            total=batch.total,
            failed=batch.failed,
            completed=batch.completed,
            waiting=batch.total - batch.completed - batch.failed,
        ),
        limit=asked.limit,
        next_cursor=page.next_cursor,
        has_more=page.next_cursor is not None,
    )


@blueprint.get("/<int:request_index>")
@needs("read")
@describe(answer=BatchRequestDetail)
def show(batch_id: str, request_index: int) -> BatchRequestDetail:
    """One request: what was asked, and what came of it."""
    batch = _found(batch_id)
    try:
        opened = batch_requests.open_one(db.session(), current_settings(), batch, request_index + 1)
    except NotFound:
        raise NotFound(
            f"The batch has no request with the index {request_index}.",
            param="request_index",
            code="not_found",
        ) from None
    answer = None if opened.listed.fault is not None else opened.listed.words
    return BatchRequestDetail(
        **{**_listed(opened.listed, batch), "answer": answer, "is_cut": False},
        batch_id=batch.id,
        question=[Message(role=each.role, text=each.text) for each in opened.question],
        parameters=opened.parameters,
        asked=opened.asked,
        asked_bytes=opened.asked_bytes,
        answered=opened.answered,
        answered_bytes=opened.answered_bytes,
        reasoning=opened.reasoning,
        finish_reason=opened.finish_reason,
        created_at=unix(opened.created_at),
    )


def _listed(each: Listed, batch: Batch) -> dict[str, Any]:
    answer = None if each.fault is not None else each.words
    is_over = each.status == "waiting" and batches.is_final(batch)
    return {
        "request_index": each.line - 1,
        "custom_id": each.custom_id,
        "status": "unanswered" if is_over else each.status,
        "answer": answer and answer[:_LISTED],
        "is_cut": len(answer or "") > _LISTED,
        "error_type": each.fault.kind if each.fault else None,
        "error_message": each.fault.message if each.fault else None,
        "status_code": each.status_code,
        "input_tokens": each.usage.input_tokens,
        "cached_tokens": each.usage.cached_tokens,
        "output_tokens": each.usage.output_tokens,
        "reasoning_tokens": each.usage.reasoning_tokens,
        "duration_seconds": each.seconds,
        "tries": each.tries,
    }


def _found(batch_id: str) -> Batch:
    return batches.get(db.session(), batch_id, g.actor.owner_filter)
