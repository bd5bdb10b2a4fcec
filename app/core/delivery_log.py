"""How the telling went: what is being delivered and was, with each try."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from app.core.errors import NotFound
from app.core.models import WebhookDelivery, WebhookTry
from app.core.sql import statement

# An endpoint is judged by so many of its newest deliveries, tests aside.
JUDGED = 100


def last_delivery(session: Session, batch_id: str) -> WebhookDelivery | None:
    """The newest event that a batch's own webhook hears, with how its telling went."""
    return session.scalar(
        select(WebhookDelivery)
        .where(WebhookDelivery.batch_id == batch_id, WebhookDelivery.endpoint_id.is_(None))
        .order_by(WebhookDelivery.created_at.desc())
        .limit(1)
    )


def list_deliveries(
    session: Session,
    owner_id: int | None,
    *,
    batch_id: str | None = None,
    endpoint_id: str | None = None,
    after: str | None,
    limit: int,
) -> tuple[list[WebhookDelivery], bool]:
    """A page of a batch's or an endpoint's, newest first, and whether more follow.

    Raises NotFound when `after` is none of them.
    """
    query = select(WebhookDelivery)
    if owner_id is not None:
        query = query.where(WebhookDelivery.owner_id == owner_id)
    if batch_id is not None:
        query = query.where(WebhookDelivery.batch_id == batch_id)
    if endpoint_id is not None:
        query = query.where(WebhookDelivery.endpoint_id == endpoint_id)
    place = (WebhookDelivery.created_at, WebhookDelivery.id)
    if after is not None:
        last = session.scalar(query.where(WebhookDelivery.id == after))
        if last is None:
            raise NotFound(f"There is no delivery '{after}' in this list.", param="after")
        query = query.where(tuple_(*place) < tuple_(last.created_at, last.id))
    query = query.order_by(*(column.desc() for column in place)).limit(limit + 1)
    found = list(session.scalars(query))
    return found[:limit], len(found) > limit


def tries_of(session: Session, delivery_ids: Sequence[str]) -> dict[str, list[WebhookTry]]:
    """The tries of each delivery, in order."""
    found: dict[str, list[WebhookTry]] = {each: [] for each in delivery_ids}
    for each in session.scalars(
        select(WebhookTry)
        .where(WebhookTry.delivery_id.in_(delivery_ids))
        .order_by(WebhookTry.delivery_id, WebhookTry.number)
    ):
        found[each.delivery_id].append(each)
    return found


@dataclass(frozen=True)
class Standing:
    """How an endpoint does: its newest delivery, and what came of the JUDGED newest that ended."""

    last_at: datetime
    last_status: str
    ended: int
    dead: int

    @property
    def failure_rate(self) -> float | None:
        """0..1; None while none has ended."""
        return self.dead / self.ended if self.ended else None


def standings(session: Session, endpoint_ids: Sequence[str]) -> dict[str, Standing]:
    """Of those endpoints that were ever told something."""
    rows = session.execute(
        statement("deliveries", "standings"),
        {"endpoint_ids": list(endpoint_ids), "judged": JUDGED},
    )
    return {
        row.endpoint_id: Standing(row.last_at, row.last_status, row.ended, row.dead) for row in rows
    }
