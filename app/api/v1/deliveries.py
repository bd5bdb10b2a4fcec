"""The delivery log: what was told to whom, with each try, per endpoint and per batch."""

from __future__ import annotations

from typing import Any, Literal

from flask import Blueprint, g
from pydantic import Field

from app.api.openapi import Answer, Limit, Query, describe, read_query
from app.api.v1.objects import page, unix
from app.auth import needs
from app.core import batches, delivery_log, redeliveries, webhook_endpoints
from app.core.models import WebhookDelivery, WebhookTry
from app.extensions import db

blueprint = Blueprint("deliveries", __name__)


class Try(Answer):
    """One try: when it began, and what came back after how long."""

    number: int
    at: int
    status_code: int | None
    error: str | None
    milliseconds: int


class Delivery(Answer):
    """An event for one receiver, with its tries so far."""

    id: str
    object: Literal["webhook_delivery"]
    event_type: str
    batch_id: str | None
    webhook_endpoint_id: str | None
    webhook_url: str
    status: Literal["pending", "delivered", "dead"]
    attempts: int
    created_at: int
    delivered_at: int | None
    next_attempt_at: int | None
    tries: list[Try]


class DeliveryList(Answer):
    """A page of deliveries."""

    object: Literal["list"]
    data: list[Delivery]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeliveryQuery(Query):
    """A page of the delivery log."""

    after: str | None = Field(None, description="The last one of the page before.")
    limit: Limit(20, 100)  # type: ignore[valid-type]


@blueprint.get("/webhook_endpoints/<webhook_endpoint_id>/deliveries")
@needs("read")
@describe(query=DeliveryQuery, answer=DeliveryList)
def of_endpoint(webhook_endpoint_id: str) -> dict[str, Any]:
    """What an endpoint was told, newest first, with each try."""
    asked = read_query(DeliveryQuery)
    endpoint = webhook_endpoints.get(db.session(), webhook_endpoint_id, g.actor.owner_filter)
    return _page(asked, endpoint_id=endpoint.id)


@blueprint.post("/webhook_endpoints/<webhook_endpoint_id>/deliveries/<delivery_id>/redeliver")
@needs("submit")
@describe(answer=Delivery, errors=(409,))
def redeliver(webhook_endpoint_id: str, delivery_id: str) -> dict[str, Any]:
    """Have a delivery of an endpoint sent once more, now."""
    session = db.session()
    endpoint = webhook_endpoints.get(session, webhook_endpoint_id, g.actor.owner_filter)
    delivery = redeliveries.redeliver(
        session, delivery_id, g.actor.owner_filter, g.actor.label, endpoint_id=endpoint.id
    )
    session.commit()
    return _delivery(delivery, delivery_log.tries_of(session, [delivery.id])[delivery.id])


@blueprint.get("/batches/<batch_id>/deliveries")
@needs("read")
@describe(query=DeliveryQuery, answer=DeliveryList)
def of_batch(batch_id: str) -> dict[str, Any]:
    """What was told about a batch, to its own webhook and to endpoints, newest first."""
    asked = read_query(DeliveryQuery)
    batch = batches.get(db.session(), batch_id, g.actor.owner_filter)
    return _page(asked, batch_id=batch.id)


def _page(asked: DeliveryQuery, **whose: str) -> dict[str, Any]:
    """Of those that the caller may see: somebody else's endpoint may hear of the same batch."""
    session = db.session()
    found, has_more = delivery_log.list_deliveries(
        session, g.actor.owner_filter, after=asked.after, limit=asked.limit, **whose
    )
    tries = delivery_log.tries_of(session, [each.id for each in found])
    return page([_delivery(each, tries[each.id]) for each in found], has_more=has_more)


def _delivery(delivery: WebhookDelivery, tries: list[WebhookTry]) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "object": "webhook_delivery",
        "event_type": delivery.type,
        "batch_id": delivery.batch_id,
        "webhook_endpoint_id": delivery.endpoint_id,
        "webhook_url": delivery.url,
        "status": delivery.status,
        "attempts": delivery.tries,
        "created_at": unix(delivery.created_at),
        "delivered_at": unix(delivery.delivered_at),
        "next_attempt_at": unix(delivery.next_try_at) if delivery.is_pending else None,
        "tries": [
            {
                "number": each.number,
                "at": unix(each.at),
                "status_code": each.status_code,
                "error": each.error,
                "milliseconds": each.milliseconds,
            }
            for each in tries
        ],
    }
