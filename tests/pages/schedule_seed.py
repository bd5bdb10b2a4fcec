"""Schedules to look at, and what became of their planned times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from app.core import schedules, users
from app.core.models import Schedule, ScheduleFiring
from app.core.schedule_definitions import Definition


def make(session: Session, name: str = "nightly", **changed: Any) -> Schedule:
    """A schedule of the administrator's; commits."""
    values: dict[str, Any] = {
        "name": name,
        "task": "export",
        "args": {"format": "csv"},
        "trigger": {"kind": "cron", "cron": "30 7 * * 1-5", "timezone": "Europe/Berlin"},
    }
    actor = users.actor_of(users.ensure_admin(session))
    made = schedules.create(
        session, Definition(**values | changed), actor, most=100, now=datetime.now(UTC)
    )
    session.commit()
    return made


def add_firing(session: Session, schedule: Schedule, minutes: float, **said: Any) -> None:
    """What became of a planned time; commits."""
    at = datetime.now(UTC) - timedelta(minutes=minutes)
    session.add(ScheduleFiring(schedule_id=schedule.id, planned_at=at, **said))
    session.commit()
