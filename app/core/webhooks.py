"""Webhooks: events of a batch, kept in the transaction that made them, told until they are heard.

Headers and signature are those of Standard Webhooks (https://www.standardwebhooks.com), so that
the official clients' `webhooks.unwrap` reads them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import orjson
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.core import jobs, logs
from app.core.ids import new_id
from app.core.logs import NewLine
from app.core.models import Batch, WebhookDelivery
from app.core.sql import statement

SECRET_PREFIX = "whsec_"  # noqa: S105
PROGRESS = "batch.progress"

_EVENTS = ("completed", "failed")
_MAX_RETRIES = 3
_TIMEOUT_SECONDS = 30.0
# Pauses between tries: each so many times longer than the one before, give or take a fifth.
_GROWTH = 6
_LONGEST_PAUSE_SECONDS = 3600.0
_JITTER = 0.2
_GONE = 410
_dice = random.SystemRandom()


@dataclass(frozen=True)
class Due:
    """One try that was claimed: what to send where, by whose wishes."""

    id: str
    type: str
    url: str
    host: str
    payload: str
    tries: int
    batch_id: str
    batch_number: int
    job_id: int
    webhook: dict[str, Any]

    @property
    def timeout_seconds(self) -> float:
        """How long the receiver may take, from the name's lookup to the answer's status."""
        return float(self.webhook.get("timeout", _TIMEOUT_SECONDS))

    @property
    def max_retries(self) -> int:
        """How often a failed try is repeated."""
        return int(self.webhook.get("max_retries", _MAX_RETRIES))

    def headers(self, now: float | None = None) -> dict[str, str]:
        """Stamped and signed for one try: a receiver takes a stamp for five minutes only."""
        timestamp = int(time.time() if now is None else now)
        headers = {
            "content-type": "application/json",
            "webhook-id": self.id,
            "webhook-timestamp": str(timestamp),
        }
        secret = self.webhook.get("secret")
        if secret:
            headers["webhook-signature"] = sign(secret, self.id, timestamp, self.payload)
        return headers


@dataclass(frozen=True)
class Outcome:
    """How a try ended: heard when there is no `error`, hopeless when no other try would help."""

    status_code: int | None = None
    error: str | None = None
    retry_after_seconds: float | None = None
    is_hopeless: bool = False


def key(secret: str) -> bytes:
    """The bytes that sign: what follows `whsec_` is base64, any other text is its own bytes.

    Raises ValueError when it is not base64, or empty.
    """
    if not secret.startswith(SECRET_PREFIX):
        return secret.encode()
    decoded = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    if not decoded:
        raise ValueError("an empty key signs nothing")
    return decoded


def sign(secret: str, delivery_id: str, timestamp: int, payload: str) -> str:
    """The header `webhook-signature`. Raises as `key`."""
    signed = f"{delivery_id}.{timestamp}.{payload}".encode()
    digest = hmac.digest(key(secret), signed, hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


# What happens to a batch.


def enqueue(session: Session, batch: Batch, status: str) -> None:
    """The batch gets this final status in the session's transaction: whoever asked hears of it."""
    event = "completed" if status == "completed" else "failed"
    if _wants(batch, event):
        _add(session, batch, f"batch.{status}", {"id": batch.id})


def enqueue_progress(session: Session, batch: Batch, new: int, counts: dict[str, int]) -> None:
    """So many `new` requests are answered, and now there are these `counts`.

    Tells it if they took the batch over a tenth of its `total`.
    """
    total = counts["total"]
    if not (new and total and _wants(batch, "progress")):
        return
    done = counts["completed"] + counts["failed"]
    if done * 10 // total > (done - new) * 10 // total:
        _add(session, batch, PROGRESS, {"id": batch.id, "request_counts": counts})


def _wants(batch: Batch, event: str) -> bool:
    return batch.webhook is not None and event in (batch.webhook.get("events") or _EVENTS)


def _add(session: Session, batch: Batch, type_: str, data: dict[str, Any]) -> None:
    assert batch.webhook is not None
    delivery_id = new_id("evt")
    event = {
        "id": delivery_id,
        "object": "event",
        "created_at": int(time.time()),
        "type": type_,
        "data": data,
    }
    url = batch.webhook["url"]
    session.add(
        WebhookDelivery(
            id=delivery_id,
            batch_id=batch.id,
            type=type_,
            url=url,
            host=(urlsplit(url).hostname or "").lower(),
            payload=orjson.dumps(event).decode(),
        )
    )
    session.flush()


# What the housekeeper does about it.


def release(session: Session) -> None:
    """Take back all claims: the caller is the only one who delivers, and has just begun; commits."""
    session.execute(statement("webhooks", "release"))
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
        statement("webhooks", "claim"), {"limit": limit, "busy_hosts": list(busy_hosts)}
    ).all()
    session.commit()
    return [Due(**{**row._mapping, "webhook": row.webhook or {}}) for row in rows]


def record(session: Session, due: Due, outcome: Outcome, first_pause_seconds: float) -> bool:
    """Write down how a try ended, on the delivery and in the batch's log; commits.

    False: another process has tried it meanwhile, and its word stands.
    """
    tries = due.tries + 1
    now = datetime.now(UTC)
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
    elif outcome.is_hopeless or tries > due.max_retries:
        values["status"] = "dead"
        level, message = "error", "webhook given up"
    else:
        seconds = pause(tries, first_pause_seconds, outcome.retry_after_seconds)
        values["next_try_at"] = now + timedelta(seconds=seconds)
        level, message = "warning", "webhook failed"
        context["again_in"] = f"{seconds:.0f}s"
    if outcome.error is None:
        context["answer"] = outcome.status_code
    else:
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
    jobs.announce(session, "batch", due.batch_id)
    logs.write(session, [NewLine(due.job_id, due.batch_number, now, level, message, context)])
    return True


def pause(tries: int, first_seconds: float, retry_after_seconds: float | None = None) -> float:
    """Seconds until the next try after so many; a receiver may ask for more, up to an hour."""
    seconds = min(first_seconds * float(_GROWTH ** (tries - 1)), _LONGEST_PAUSE_SECONDS)
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


def last_delivery(session: Session, batch_id: str) -> WebhookDelivery | None:
    """The newest event of a batch, with how its telling went."""
    return session.scalar(
        select(WebhookDelivery)
        .where(WebhookDelivery.batch_id == batch_id)
        .order_by(WebhookDelivery.created_at.desc())
        .limit(1)
    )
