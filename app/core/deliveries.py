"""Deliveries: each event for each receiver, tried until it is heard, and what came of each try."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import case, func, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.core import jobs, listening, logs, signatures
from app.core.logs import NewLine
from app.core.models import WebhookDelivery, WebhookEndpoint, WebhookTry
from app.core.settings import Settings
from app.core.sql import statement

# Pauses between tries: each so many times longer than the one before, give or take a fifth.
_GROWTH = 6
_LONGEST_PAUSE_SECONDS = 3600.0
_JITTER = 0.2
_GONE = 410
_dice = random.SystemRandom()


@dataclass(frozen=True)
class Due:
    """One try that was claimed: what to send where.

    `max_retries` is None for what is repeated for some hours instead. `secrets` sign it;
    `batch_number` and `job_id` are those of a batch's own webhook.
    """

    id: str
    type: str
    url: str
    host: str
    payload: str
    tries: int
    created_at: datetime
    endpoint_id: str | None
    batch_id: str | None
    batch_number: int | None
    job_id: int | None
    timeout_seconds: float
    max_retries: int | None
    secrets: list[str]

    def headers(self, now: float | None = None) -> dict[str, str]:
        """Of one try. Raises ValueError when a secret can't sign."""
        return signatures.headers(self.id, self.payload, self.secrets, now)


@dataclass(frozen=True)
class Outcome:
    """How a try ended: heard when there is no `error`, hopeless when no other try would help."""

    status_code: int | None = None
    error: str | None = None
    retry_after_seconds: float | None = None
    is_hopeless: bool = False


def release(session: Session) -> None:
    """Take back all claims: the caller is the only one who delivers, and has just begun; commits."""
    session.execute(statement("deliveries", "release"))
    session.commit()


def give_back(session: Session, due: Sequence[Due]) -> None:
    """Claims whose tries were broken off; commits. They count as not tried."""
    session.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.id.in_([each.id for each in due]))
        .where(WebhookDelivery.status == "pending")
        .values(claimed_until=None)
    )
    session.commit()


def claim(session: Session, limit: int, busy_hosts: Sequence[str] = ()) -> list[Due]:
    """What is to be sent now, at most `limit`, nothing to `busy_hosts`; commits."""
    rows = session.execute(
        statement("deliveries", "claim"), {"limit": limit, "busy_hosts": list(busy_hosts)}
    ).all()
    session.commit()
    return [Due(**row._mapping) for row in rows]


def record(
    session: Session,
    due: Due,
    outcome: Outcome,
    settings: Settings,
    *,
    seconds: float = 0.0,
    now: datetime | None = None,
) -> bool:
    """Write down how a try ended that took so many `seconds`; commits.

    On the delivery, in the log of tries, and of a batch's own webhook in the batch's log. False:
    another process has tried it meanwhile, and its word stands.
    """
    tries = due.tries + 1
    now = now or datetime.now(UTC)
    values: dict[str, Any] = {
        "tries": tries,
        "claimed_until": None,
        "last_tried_at": now,
        "last_status_code": outcome.status_code,
        "last_error": outcome.error,
    }
    context: dict[str, Any] = {"event": due.type, "host": due.host, "try": tries}
    if outcome.error is None:
        values |= {"status": "delivered", "delivered_at": now}
        level, message = "info", "webhook delivered"
        context["answer"] = outcome.status_code
    else:
        again_in = pause(tries, settings.webhook_retry_seconds, outcome.retry_after_seconds)
        if outcome.is_hopeless or _is_the_last(due, now + timedelta(seconds=again_in), settings):
            values |= {"status": "dead", "died_at": _died_at(now)}
            level, message = "error", "webhook given up"
        else:
            values["next_try_at"] = now + timedelta(seconds=again_in)
            level, message = "warning", "webhook failed"
            context["again_in"] = f"{again_in:.0f}s"
        context["error"] = outcome.error
    change = (
        update(WebhookDelivery)
        .where(WebhookDelivery.id == due.id)
        .where(WebhookDelivery.status == "pending", WebhookDelivery.tries == due.tries)
        .values(**values)
    )
    if not session.execute(change).rowcount:  # type: ignore[attr-defined]
        session.rollback()
        return False
    session.execute(
        insert(WebhookTry).values(
            delivery_id=due.id,
            number=tries,
            at=now - timedelta(seconds=seconds),
            status_code=outcome.status_code,
            error=outcome.error,
            milliseconds=round(1000 * seconds),
        )
    )
    if outcome.status_code == _GONE and due.endpoint_id is not None:
        session.execute(
            update(WebhookEndpoint)
            .where(WebhookEndpoint.id == due.endpoint_id, WebhookEndpoint.disabled_at.is_(None))
            .values(disabled_at=now)
        )
    if due.batch_id is not None and due.batch_number is not None:
        jobs.announce(session, "batch", due.batch_id)
        line = NewLine(due.job_id or 0, due.batch_number, now, level, message, context)
        logs.write(session, [line])
    else:
        listening.tell(session, "delivery")
    session.commit()
    return True


def _is_the_last(due: Due, next_at: datetime, settings: Settings) -> bool:
    if due.max_retries is not None:
        return due.tries + 1 > due.max_retries
    return next_at > due.created_at + timedelta(hours=settings.webhook_retry_hours)


def _died_at(now: datetime) -> Any:
    """The first time stays; a test leaves no dead letter."""
    return func.coalesce(WebhookDelivery.died_at, case((WebhookDelivery.is_test, None), else_=now))


def pause(tries: int, first_seconds: float, retry_after_seconds: float | None = None) -> float:
    """Seconds until the next try after so many; a receiver may ask for more, up to an hour."""
    # No pause grows further after so many tries, and no number gets too large.
    growth = float(_GROWTH ** min(tries - 1, 12))
    seconds = min(first_seconds * growth, _LONGEST_PAUSE_SECONDS)
    seconds *= _dice.uniform(1 - _JITTER, 1 + _JITTER)
    return max(seconds, min(retry_after_seconds or 0.0, _LONGEST_PAUSE_SECONDS))


def judge(status_code: int, retry_after_seconds: float | None = None) -> Outcome:
    """What an answer's status means."""
    if 200 <= status_code < 300:
        return Outcome(status_code)
    error = f"HTTP {status_code}"
    if 300 <= status_code < 400:
        error += ", and redirects are not followed"
    return Outcome(status_code, error, retry_after_seconds, is_hopeless=status_code == _GONE)
