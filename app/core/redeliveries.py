"""Sending once more what was sent, and clearing dead letters, one or many; the caller commits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import select, true, update
from sqlalchemy.orm import Session

from app.core import audit, dead_letters
from app.core.errors import Conflict, NotFound
from app.core.models import WebhookDelivery

# So many dead letters are acted on at once; the rest is left for the next time.
MOST_AT_ONCE = 500
ACTIONS = ("retry", "delete")


@dataclass(frozen=True)
class Sweep:
    """How many dead letters were acted on, and why others were not, by their ids."""

    done: int
    skipped: dict[str, str] = field(default_factory=dict)


def redeliver(
    session: Session, delivery_id: str, owner_id: int | None, actor: str, *, endpoint_id: str
) -> WebhookDelivery:
    """Have a delivery of an endpoint that has ended sent once more, now, whether it was heard or given up.

    If nobody hears it this time, it is a dead letter. Raises NotFound, and Conflict while it is
    being sent, and for a test.
    """
    mine = WebhookDelivery.endpoint_id == endpoint_id
    if owner_id is not None:
        mine &= WebhookDelivery.owner_id == owner_id
    delivery: WebhookDelivery | None = session.scalar(
        update(WebhookDelivery)
        .where(WebhookDelivery.id == delivery_id, mine)
        .where(WebhookDelivery.status != "pending", ~WebhookDelivery.is_test)
        .values(dead_letters.ONCE_MORE)
        .returning(WebhookDelivery)
    )
    if delivery is None:
        found = session.scalar(
            select(WebhookDelivery).where(WebhookDelivery.id == delivery_id, mine)
        )
        if found is None:
            raise NotFound(f"There is no delivery '{delivery_id}'.", param="delivery_id")
        if found.is_test:
            raise Conflict("A test is not sent again; send another one.")
        raise Conflict("This delivery is being sent just now.")
    audit.record(session, actor, "delivery.redeliver", delivery_id)
    return delivery


def dead_ids(session: Session, owner_id: int | None) -> list[str]:
    """The dead letters that died last and are not being sent, MOST_AT_ONCE at most."""
    mine = true() if owner_id is None else WebhookDelivery.owner_id == owner_id
    return list(
        session.scalars(
            select(WebhookDelivery.id)
            .where(WebhookDelivery.died_at.is_not(None), WebhookDelivery.status == "dead", mine)
            .order_by(WebhookDelivery.died_at.desc(), WebhookDelivery.id.desc())
            .limit(MOST_AT_ONCE)
        )
    )


def sweep(
    session: Session, action: str, letter_ids: Sequence[str], owner_id: int | None, actor: str
) -> Sweep:
    """Have each sent once more (`retry`) or removed (`delete`); what refuses keeps no other from it."""
    act: dict[str, Callable[[str], object]] = {
        "retry": lambda letter_id: dead_letters.retry(session, letter_id, owner_id, actor),
        "delete": lambda letter_id: dead_letters.remove(session, letter_id, owner_id, actor),
    }
    done, skipped = 0, {}
    for letter_id in dict.fromkeys(letter_ids[:MOST_AT_ONCE]):
        try:
            act[action](letter_id)
            done += 1
        except (NotFound, Conflict) as refusal:
            skipped[letter_id] = refusal.message
    return Sweep(done, skipped)
