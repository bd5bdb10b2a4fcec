"""The dead letters: deliveries that were given up."""

from __future__ import annotations

from typing import Any, Literal

from flask import Blueprint, g
from pydantic import Field

from app.api.openapi import Answer, Limit, Offset, Query, describe, read_query
from app.api.v1.answers import Deleted
from app.api.v1.objects import unix
from app.auth import needs
from app.core import dead_letters
from app.core.models import WebhookDelivery
from app.extensions import db

blueprint = Blueprint("dead_letters", __name__, url_prefix="/webhooks/dead-letter")


class DeadLetter(Answer):
    """A delivery that was given up."""

    id: str
    object: Literal["webhook_dead_letter"]
    event_type: str
    batch_id: str | None
    webhook_endpoint_id: str | None
    webhook_url: str
    error_message: str | None
    attempts: int
    last_attempt_at: int | None
    created_at: int
    retried_at: int | None
    retry_success: bool | None


class DeadLetterList(Answer):
    """A page of dead letters, the latest first."""

    object: Literal["list"]
    data: list[DeadLetter]
    has_more: bool
    total: int


class LettersQuery(Query):
    """GET /v1/webhooks/dead-letter."""

    limit: Limit(50, 500)  # type: ignore[valid-type]
    offset: Offset = 0


class RetryQuery(Query):
    """POST /v1/webhooks/dead-letter/{id}/retry."""

    force: bool = Field(False, description="Send it again although it was heard since.")


@blueprint.get("")
@needs("read")
@describe(query=LettersQuery, answer=DeadLetterList)
def index() -> dict[str, Any]:
    """What was given up, the latest first."""
    asked = read_query(LettersQuery)
    found, total = dead_letters.list_letters(
        db.session(), g.actor.owner_filter, limit=asked.limit, offset=asked.offset
    )
    return {
        "object": "list",
        "data": [_letter(each) for each in found],
        "has_more": asked.offset + len(found) < total,
        "total": total,
    }


@blueprint.post("/<letter_id>/retry")
@needs("submit")
@describe(query=RetryQuery, answer=DeadLetter, errors=(409,))
def retry(letter_id: str) -> dict[str, Any]:
    """Have a dead letter sent once more, now."""
    asked = read_query(RetryQuery)
    session = db.session()
    letter = dead_letters.retry(
        session, letter_id, g.actor.owner_filter, g.actor.label, force=asked.force
    )
    session.commit()
    return _letter(letter)


@blueprint.delete("/<letter_id>")
@needs("submit")
@describe(answer=Deleted, errors=(409,))
def delete(letter_id: str) -> dict[str, Any]:
    """Delete a dead letter."""
    session = db.session()
    dead_letters.remove(session, letter_id, g.actor.owner_filter, g.actor.label)
    session.commit()
    return {"id": letter_id, "object": "webhook_dead_letter", "deleted": True}


def _letter(letter: WebhookDelivery) -> dict[str, Any]:
    return {
        "id": letter.id,
        "object": "webhook_dead_letter",
        "event_type": letter.type,
        "batch_id": letter.batch_id,
        "webhook_endpoint_id": letter.endpoint_id,
        "webhook_url": letter.url,
        "error_message": letter.last_error,
        "attempts": letter.tries,
        "last_attempt_at": unix(letter.last_tried_at),
        "created_at": unix(letter.created_at),
        "retried_at": unix(letter.retried_at),
        "retry_success": dead_letters.is_heard(letter),
    }
