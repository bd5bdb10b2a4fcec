"""Test messages: really sent, by the one process that sends, while whoever asked waits for the outcome."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.core.errors import Unavailable
from app.core.models import WebhookDelivery, Worker

_POLL_SECONDS = 0.05
# More than one try may take (sql/deliveries.sql) and than the courier takes to look.
_WAIT_SECONDS = 20.0


def send(
    session: Session, messages: Sequence[WebhookDelivery], stale_seconds: float
) -> list[WebhookDelivery]:
    """Have them sent, once each, and give them back with what happened; commits.

    Raises Unavailable when no housekeeper lives to send them, or none of them was sent in time.
    """
    _require_a_courier(session, stale_seconds)
    ids = [message.id for message in messages]
    session.add_all(messages)
    session.commit()
    mine = WebhookDelivery.id.in_(ids)
    deadline = time.monotonic() + _WAIT_SECONDS
    while session.scalar(select(func.count()).where(mine, WebhookDelivery.status == "pending")):
        session.rollback()  # the connection goes back while we wait
        if time.monotonic() > deadline:
            session.execute(delete(WebhookDelivery).where(mine))
            session.commit()
            raise Unavailable("The test was not sent: the housekeeper is busy or gone.")
        time.sleep(_POLL_SECONDS)
    found = session.scalars(
        select(WebhookDelivery).where(mine).execution_options(populate_existing=True)
    )
    by_id = {message.id: message for message in found}
    return [by_id[each] for each in ids]


def _require_a_courier(session: Session, stale_seconds: float) -> None:
    heard_since = func.clock_timestamp() - timedelta(seconds=stale_seconds)
    is_there = select(Worker.id).where(
        Worker.kind == "housekeeper",
        Worker.status == "running",
        Worker.stopped_at.is_(None),
        Worker.last_heartbeat_at > heard_since,
    )
    if session.scalar(is_there.limit(1)) is None:
        raise Unavailable("No housekeeper is running, which sends all messages: start one.")
