"""Events, kept in the transaction that made them, one for each who wants to hear of it.

A batch's own webhook hears of that batch; a webhook endpoint hears of the types that it chose.
app.core.deliveries has them sent.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import orjson
from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from app.core import listening
from app.core.addresses import MAIL_SCHEME
from app.core.ids import new_id
from app.core.models import Batch, User, WebhookDelivery, WebhookEndpoint
from app.core.users import OPERATING_ROLES

PROGRESS = "batch.progress"
INCIDENT = "incident.opened"
EVENT_TYPES = (
    "batch.completed",
    "batch.failed",
    "batch.expired",
    "batch.cancelled",
    PROGRESS,
    "job.completed",
    "job.failed",
    "job.cancelled",
    INCIDENT,
)

_EVENTS = ("completed", "failed")


def enqueue(session: Session, batch: Batch, status: str) -> None:
    """The batch gets this final status in the session's transaction: whoever asked hears of it."""
    event = "completed" if status == "completed" else "failed"
    _tell_of_batch(session, batch, event, f"batch.{status}", {"id": batch.id})


def enqueue_progress(session: Session, batch: Batch, new: int, counts: dict[str, int]) -> None:
    """So many `new` requests are answered, and now there are these `counts`.

    Tells it if they took the batch over a tenth of its `total`.
    """
    total = counts["total"]
    if not (new and total):
        return
    done = counts["completed"] + counts["failed"]
    if done * 10 // total > (done - new) * 10 // total:
        data = {"id": batch.id, "request_counts": counts}
        _tell_of_batch(session, batch, "progress", PROGRESS, data)


def _tell_of_batch(
    session: Session, batch: Batch, event: str, type_: str, data: dict[str, Any]
) -> None:
    if batch.webhook is not None and event in (batch.webhook.get("events") or _EVENTS):
        session.add(
            make_delivery(
                type_, data, batch.webhook["url"], owner_id=batch.owner_id, batch_id=batch.id
            )
        )
        session.flush()
    tell(session, type_, data, owner_id=batch.owner_id, batch_id=batch.id)


def tell(
    session: Session,
    type_: str,
    data: dict[str, Any],
    *,
    owner_id: int | None = None,
    batch_id: str | None = None,
) -> None:
    """Something happened to something of `owner_id`'s, or (None) of nobody's: endpoints hear of it."""
    hearing = _listening(session, type_, owner_id)
    for endpoint in hearing:
        session.add(
            make_delivery(
                type_,
                data,
                endpoint.url,
                owner_id=endpoint.owner_id,
                batch_id=batch_id,
                endpoint_id=endpoint.id,
            )
        )
    session.flush()
    if hearing:
        listening.tell(session, "delivery")


def _listening(session: Session, type_: str, owner_id: int | None) -> Sequence[WebhookEndpoint]:
    hears_it = and_(WebhookEndpoint.hears_all, User.role.in_(OPERATING_ROLES))
    if owner_id is not None:
        hears_it = or_(hears_it, WebhookEndpoint.owner_id == owner_id)
    return session.scalars(
        select(WebhookEndpoint)
        .join(User, User.id == WebhookEndpoint.owner_id)
        .where(
            WebhookEndpoint.event_types.contains([type_]),
            WebhookEndpoint.disabled_at.is_(None),
            User.disabled_at.is_(None),
            hears_it,
        )
    ).all()


def make_delivery(
    type_: str,
    data: dict[str, Any],
    url: str,
    *,
    owner_id: int | None = None,
    batch_id: str | None = None,
    endpoint_id: str | None = None,
    is_test: bool = False,
) -> WebhookDelivery:
    """An event for one receiver, to be added to the session of what it tells."""
    delivery_id = new_id("evt")
    event = {
        "id": delivery_id,
        "object": "event",
        "created_at": int(time.time()),
        "type": type_,
        "data": data,
    }
    return WebhookDelivery(
        id=delivery_id,
        owner_id=owner_id,
        batch_id=batch_id,
        endpoint_id=endpoint_id,
        type=type_,
        url=url,
        host=host_of(url),
        payload=orjson.dumps(event).decode(),
        is_test=is_test,
    )


def host_of(url: str) -> str:
    """Whose server is asked: it gets few tries at a time. All e-mails go to one."""
    if url.startswith(MAIL_SCHEME):
        return "e-mail"
    return (urlsplit(url).hostname or "").lower()
