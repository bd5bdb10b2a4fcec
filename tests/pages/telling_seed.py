"""Alert rules, webhook endpoints, deliveries and audit entries to look at: each one possible."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.core import users
from app.core.models import Alert, AlertRule, User, WebhookDelivery, WebhookEndpoint, WebhookTry

_TABLES = (
    "webhook_try", "webhook_delivery", "webhook_endpoint", "alert", "alert_rule", "audit_entry"
)  # fmt: skip


def clear(session: Session) -> None:
    """Nothing of the sort is left; commits."""
    session.rollback()
    # Row by row: a page that is being made may still read them.
    for table in _TABLES:
        session.execute(text(f"DELETE FROM {table}"))
    session.commit()


def add_rule(session: Session, name: str = "failures", **fields: Any) -> AlertRule:
    """A rule that tells ops@example.org; commits."""
    values = {
        "kind": "job_failure",
        "threshold": 5.0,
        "window_seconds": 300,
        "fewest_jobs": 0,
        "targets": ["ops@example.org"],
        "cooldown_seconds": 900,
        "created_by": "admin",
    }
    rule = AlertRule(name=name, **values | fields)
    session.add(rule)
    session.commit()
    return rule


def add_alert(session: Session, rule: AlertRule, minutes: float = 7, **fields: Any) -> Alert:
    """The rule is past its limit since so many minutes; commits."""
    at = datetime.now(UTC) - timedelta(minutes=minutes)
    values: dict[str, Any] = {
        "rule_id": rule.id,
        "rule_name": rule.name,
        "kind": rule.kind,
        "threshold": rule.threshold,
        "figure": 12.0,
        "text": "jobs that failed within 5 min: 12 jobs (the limit is 5 jobs)",
        "since": at,
        "opened_at": at,
    }
    alert = Alert(**values | fields)
    session.add(alert)
    session.commit()
    return alert


def add_endpoint(
    session: Session, name: str = "ledger", owner: User | None = None, **fields: Any
) -> WebhookEndpoint:
    """An endpoint that hears of batches; commits."""
    owner = owner or users.ensure_admin(session)
    values: dict[str, Any] = {
        "id": f"we_{secrets.token_hex(12)}",
        "owner_id": owner.id,
        "url": "https://hooks.example.org/stoker",
        "event_types": ["batch.completed", "batch.failed"],
        "secret": "whsec_c2VjcmV0IHNlY3JldCBzZWNyZXQgMTIzNA==",
    }
    endpoint = WebhookEndpoint(name=name, **values | fields)
    session.add(endpoint)
    session.commit()
    return endpoint


def the_endpoint(session: Session) -> WebhookEndpoint:
    """The endpoint `we_shown`, made if need be."""
    return session.get(WebhookEndpoint, "we_shown") or add_endpoint(session, id="we_shown")


def the_rule(session: Session) -> AlertRule:
    """The rule "shown", made if need be."""
    return session.scalar(select(AlertRule).where(AlertRule.name == "shown")) or add_rule(
        session, "shown"
    )


def add_delivery(
    session: Session, endpoint: WebhookEndpoint, status: str = "delivered", **fields: Any
) -> WebhookDelivery:
    """A delivery of an endpoint with its tries; commits. `minutes` ago, with `error` as its fault."""
    at = datetime.now(UTC) - timedelta(minutes=fields.pop("minutes", 3))
    tries, error = fields.pop("tries", 1), fields.pop("error", "HTTP 500")
    is_bad = status != "delivered"
    values: dict[str, Any] = {
        "id": f"evt_{secrets.token_hex(12)}",
        "owner_id": endpoint.owner_id,
        "endpoint_id": endpoint.id,
        "type": "batch.completed",
        "url": endpoint.url,
        "host": "hooks.example.org",
        "payload": '{"id":"evt_1","type":"batch.completed","data":{"id":"batch_1"}}',
        "status": status,
        "tries": tries,
        "created_at": at,
        "last_tried_at": at,
        "last_status_code": 500 if is_bad else 200,
        "last_error": error if is_bad else None,
        "delivered_at": None if is_bad else at,
        "died_at": at if status == "dead" else None,
        "next_try_at": datetime.now(UTC) + timedelta(minutes=30),
    }
    delivery = WebhookDelivery(**values | fields)
    session.add(delivery)
    session.flush()
    for number in range(1, tries + 1):
        fault = error if is_bad or number < tries else None
        session.add(
            WebhookTry(
                delivery_id=delivery.id,
                number=number,
                at=at + timedelta(seconds=number),
                status_code=200 if fault is None else 500,
                error=fault,
                milliseconds=140,
            )
        )
    session.commit()
    return delivery
