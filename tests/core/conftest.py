"""What several nouns of the core are tested with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core import alerts, partitions
from app.core.models import WebhookDelivery
from app.core.settings import Settings
from tests.core.alert_seed import Look, after
from tests.core.retention_seed import NOW


@pytest.fixture
def count() -> Callable[[], int]:
    """Says how often it was called."""
    calls = 0

    def count() -> int:
        nonlocal calls
        calls += 1
        return calls

    return count


@pytest.fixture
def look(session: Session, settings: Settings) -> Look:
    """Evaluates the rules at a moment, and gives the events that this made."""
    settings.var_path.mkdir(parents=True, exist_ok=True)

    def look(seconds: float = 0.0) -> list[dict[str, Any]]:
        known = set(session.scalars(select(WebhookDelivery.id)))
        alerts.evaluate(session, settings, after(seconds))
        new = select(WebhookDelivery).where(WebhookDelivery.id.not_in(known))
        found = session.scalars(new.order_by(WebhookDelivery.created_at)).all()
        return [json.loads(each.payload) for each in found]

    return look


@pytest.fixture
def db(settings: Settings) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(settings.database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def past(db: psycopg.Connection[Any]) -> None:
    """Partitions of the last year."""
    partitions.ensure(db, since=NOW - timedelta(days=370))
