"""Rules of alerts and the jobs that they watch, around one moment."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import alert_rules
from app.core.models import AlertRule

NOW = datetime(2031, 5, 6, 12, tzinfo=UTC)
OPS = "ops@example.org"


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def add_rule(session: Session, kind: str = "queue_age", **wanted: Any) -> AlertRule:
    wanted = {"name": kind, "targets": [OPS], **wanted}
    rule = alert_rules.create(session, "ann", {"kind": kind, **wanted})
    session.commit()
    return rule


def add_job(session: Session, number: int, **values: Any) -> None:
    row = {
        "id": number,
        "task": "mail",
        "queue": "q",
        "status": "pending",
        "created_at": after(-100),
        "attempt_started_at": None,
        "ended_at": None,
        "scheduled_at": None,
        **values,
    }
    session.execute(
        text(
            "INSERT INTO job (id, created_at, task, queue, status, started_at, attempt_started_at,"
            " ended_at, scheduled_at) VALUES (:id, :created_at, :task, :queue, :status,"
            " :attempt_started_at, :attempt_started_at, :ended_at, :scheduled_at)"
        ),
        row,
    )
    session.commit()


Look = Callable[..., list[dict[str, Any]]]


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]
