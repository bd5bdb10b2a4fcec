"""Dead letters: deliveries that were given up, kept until somebody has them sent once more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, delete, func, select, true, update
from sqlalchemy.orm import Session

from app.core import audit
from app.core.errors import Conflict, NotFound
from app.core.models import WebhookDelivery

MOST_COUNTED = 1000
# What has one that has ended sent again, now.
ONCE_MORE: dict[str, Any] = {
    "status": "pending",
    "delivered_at": None,
    "claimed_until": None,
    "next_try_at": func.clock_timestamp(),
    "retried_at": func.clock_timestamp(),
}


def list_letters(
    session: Session, owner_id: int | None, *, limit: int, offset: int
) -> tuple[Sequence[WebhookDelivery], int]:
    """A page, the latest dead first, and how many there are in all."""
    mine = _visible(owner_id)
    total = session.scalars(select(func.count()).where(mine)).one()
    found = session.scalars(
        select(WebhookDelivery)
        .where(mine)
        .order_by(WebhookDelivery.died_at.desc(), WebhookDelivery.id.desc())
        .limit(limit)
        .offset(offset)
    )
    return found.all(), total


def count_unheard(session: Session, owner_id: int | None) -> int:
    """How many nobody has heard and nobody has sent once more; MOST_COUNTED at most."""
    unheard = select(WebhookDelivery.id).where(_visible(owner_id), WebhookDelivery.status == "dead")
    return session.scalars(
        select(func.count()).select_from(unheard.limit(MOST_COUNTED).subquery())
    ).one()


def is_heard(letter: WebhookDelivery) -> bool | None:
    """Whether it was heard when it was sent once more; None before that."""
    if letter.retried_at is None or letter.is_pending:
        return None
    return letter.delivered_at is not None


def retry(
    session: Session, letter_id: str, owner_id: int | None, actor: str, *, force: bool = False
) -> WebhookDelivery:
    """Have it sent once more, now; the caller commits. `force` repeats even what was heard since.

    Raises NotFound, and Conflict when it was heard or is just being sent.
    """
    again = ("dead", "delivered") if force else ("dead",)
    letter: WebhookDelivery | None = session.scalar(
        update(WebhookDelivery)
        .where(_is(letter_id, owner_id), WebhookDelivery.status.in_(again))
        .values(ONCE_MORE)
        .returning(WebhookDelivery)
    )
    if letter is None:
        raise _why_not(session, letter_id, owner_id)
    audit.record(session, actor, "dead_letter.retry", letter_id)
    return letter


def remove(session: Session, letter_id: str, owner_id: int | None, actor: str) -> None:
    """Delete it with the log of its tries; the caller commits.

    Raises NotFound, and Conflict while it is being sent.
    """
    gone: Any = session.execute(
        delete(WebhookDelivery).where(_is(letter_id, owner_id), WebhookDelivery.status != "pending")
    )
    if not gone.rowcount:
        raise _why_not(session, letter_id, owner_id)
    audit.record(session, actor, "dead_letter.delete", letter_id)


def _why_not(session: Session, letter_id: str, owner_id: int | None) -> NotFound | Conflict:
    status = session.scalar(select(WebhookDelivery.status).where(_is(letter_id, owner_id)))
    if status is None:
        return NotFound(f"There is no dead letter '{letter_id}'.", param="id")
    if status == "pending":
        return Conflict("This dead letter is being sent just now.")
    return Conflict("This dead letter was heard when it was sent once more; `force` repeats it.")


def _is(letter_id: str, owner_id: int | None) -> ColumnElement[bool]:
    return (WebhookDelivery.id == letter_id) & _visible(owner_id)


def _visible(owner_id: int | None) -> ColumnElement[bool]:
    mine = true() if owner_id is None else WebhookDelivery.owner_id == owner_id
    return WebhookDelivery.died_at.is_not(None) & mine
