"""Incidents to look at."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from app.core.models import Incident


def add(session: Session, said: str = "export failed", **fields: Any) -> int:
    """An incident that was opened `minutes` ago; commits. Returns its id."""
    at = datetime.now(UTC) - timedelta(minutes=fields.pop("minutes", 5))
    values = {
        "source": "failure",
        "risk_level": "medium",
        "fingerprint": f"failure:{said}:{at.timestamp()}",
        "text": said,
        "details": {"task": "export"},
        "opened_at": at,
        "last_seen_at": at,
    }
    incident = Incident(**values | fields)
    session.add(incident)
    session.commit()
    return incident.id
