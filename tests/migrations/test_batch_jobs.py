"""The view `batch_jobs`: earlier systems' queries of the job history keep working."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from sqlalchemy import NullPool, create_engine, select, text
from sqlalchemy.orm import Session

from app.core import db as database
from app.core import history, schema
from app.core.batch_status import (
    HISTORY_STATUSES,
    history_status,
    history_status_column,
    history_status_filter,
)
from app.core.errors import Invalid
from app.core.models import FINAL, STATUSES, Batch, User

CREATED = datetime(2026, 3, 4, 5, 6, 7, 890_000, tzinfo=UTC)
NOW = int(CREATED.timestamp())

# As the earlier system's users have it in their scripts.
DOCUMENTED_QUERY = """
SELECT
  batch_id,
  status,
  model,
  created_at,
  completed_at,
  total_requests,
  completed_requests,
  failed_requests
FROM batch_jobs
ORDER BY created_at DESC
LIMIT 50;
"""


@pytest.fixture
def session(url: str) -> Iterator[Session]:
    schema.upgrade(url)
    engine = create_engine(
        database.sqlalchemy_url(url),
        poolclass=NullPool,
        connect_args=database.connect_args("test"),
    )
    with Session(engine) as session:
        session.add(User(id=1, name="ada", role="admin"))
        session.flush()
        yield session


def add_batch(session: Session, id: str, status: str, **columns: Any) -> Batch:
    values = {
        "owner_id": 1,
        "input_file_id": "file-1",
        "endpoint": "/v1/completions",
        "completion_window": "24h",
        "fingerprint": "f",
        "created_at": CREATED,
        "expires_at": CREATED + timedelta(days=1),
    }
    if status in FINAL:
        values[f"{status}_at"] = CREATED + timedelta(seconds=30)
    batch = Batch(id=id, status=status, **{**values, **columns})
    session.add(batch)
    session.flush()
    return batch


def test_the_documented_query_lists_the_newest_batches_first(session: Session) -> None:
    add_batch(session, "batch_old", "validating", created_at=CREATED - timedelta(hours=1))
    add_batch(
        session,
        "batch_new",
        "completed",
        model="tiny",
        in_progress_at=CREATED + timedelta(seconds=10),
        total=10,
        completed=9,
        failed=1,
    )

    rows = session.execute(text(DOCUMENTED_QUERY)).all()

    assert rows == [
        ("batch_new", "completed", "tiny", NOW, NOW + 30, 10, 9, 1),
        ("batch_old", "queued", None, NOW - 3600, None, 0, 0, 0),
    ]


def test_the_view_and_the_code_agree_on_every_status(session: Session) -> None:
    """Every status, with and without the start of its run."""
    batches = {
        batch.id: batch
        for status, started in product(STATUSES, (None, CREATED + timedelta(seconds=10)))
        for batch in [add_batch(session, f"{status} {started}", status, in_progress_at=started)]
    }

    viewed: dict[str, str] = dict(
        session.execute(text("SELECT batch_id, status FROM batch_jobs")).all()
    )
    selected = dict(session.execute(select(Batch.id, history_status_column())).all())
    filtered = {
        id: word
        for word in HISTORY_STATUSES
        for id in session.scalars(select(Batch.id).where(history_status_filter(word)))
    }

    assert len(batches) == 2 * len(STATUSES)
    assert viewed == selected == filtered
    assert viewed == {id: history_status(batch) for id, batch in batches.items()}
    assert set(viewed.values()) == set(HISTORY_STATUSES)


def test_a_word_that_is_no_status_is_refused_by_name() -> None:
    with pytest.raises(Invalid, match="'exploded' is no status") as refused:
        history_status_filter("exploded")

    assert refused.value.param == "status"


def test_the_view_says_of_each_batch_what_the_history_says(session: Session) -> None:
    ran = {"in_progress_at": CREATED + timedelta(seconds=9.5), "total": 5, "input_tokens": 300}
    batches = [
        add_batch(session, "answered", "completed", completed=5, output_tokens=100, **ran),
        add_batch(session, "with failed requests", "completed", completed=3, failed=2, **ran),
        add_batch(session, "unreadable", "failed", errors=[{"code": "invalid_json", "line": 1}]),
        add_batch(session, "empty errors", "cancelled", errors=[], completed=1, **ran),
        add_batch(session, "expired", "expired", webhook={"url": "https://example.org"}, **ran),
        add_batch(session, "runs", "in_progress", completed=1, **ran),
        add_batch(session, "waits", "in_progress", priority=-1),
        add_batch(
            session, "clock set back", "completed", in_progress_at=CREATED + timedelta(hours=1)
        ),
    ]

    for row in session.execute(text("SELECT * FROM batch_jobs")).mappings():
        batch = next(batch for batch in batches if batch.id == row["batch_id"])
        told = history.describe(batch)
        for name, value in row.items():
            said = getattr(told, name)
            if isinstance(said, datetime):
                said = int(said.timestamp())
            assert (batch.id, name, value) == (batch.id, name, said)


def test_duration_is_the_run_and_not_the_wait(session: Session) -> None:
    started = CREATED + timedelta(seconds=10)
    add_batch(session, "ran", "completed", in_progress_at=started, total=5, completed=5)
    add_batch(session, "never ran", "cancelled")

    rows = session.execute(text("SELECT batch_id, duration, throughput FROM batch_jobs")).all()

    assert sorted(rows) == [("never ran", None, None), ("ran", 20.0, 0.25)]


def test_the_newest_fifty_are_read_from_an_index(session: Session) -> None:
    session.execute(text("SET LOCAL enable_seqscan = off"))
    plan = session.scalars(text("EXPLAIN " + DOCUMENTED_QUERY)).all()

    assert any("batch_created_seconds_idx" in line for line in plan)
    assert not any("Sort" in line for line in plan)
