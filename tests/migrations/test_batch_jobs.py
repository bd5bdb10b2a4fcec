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
from app.core import schema
from app.core.errors import Invalid
from app.core.models import FINAL, STATUSES, Batch, User
from app.core.status import (
    HISTORY_STATUSES,
    history_status,
    history_status_column,
    history_status_filter,
)

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


def test_duration_is_the_run_and_not_the_wait(session: Session) -> None:
    add_batch(
        session,
        "batch_1",
        "completed",
        in_progress_at=CREATED + timedelta(seconds=10),
        total=5,
        completed=5,
        input_tokens=300,
        output_tokens=100,
    )

    row = session.execute(
        text(
            "SELECT duration, throughput, request_throughput, total_tokens, token_throughput"
            " FROM batch_jobs"
        )
    ).one()

    assert row == (20.0, 0.25, 0.25, 400, 20.0)


def test_a_batch_that_never_ran_has_no_duration(session: Session) -> None:
    add_batch(session, "batch_1", "cancelled")
    add_batch(session, "batch_2", "in_progress", in_progress_at=CREATED)

    rows = session.execute(text("SELECT duration, throughput FROM batch_jobs")).all()

    assert rows == [(None, None), (None, None)]


def test_an_expired_batch_failed_when_it_expired(session: Session) -> None:
    add_batch(session, "batch_1", "expired", webhook={"url": "http://example.org"}, total=2)

    row = session.execute(
        text("SELECT status, failed_at, cancelled_at, webhook_url, has_errors FROM batch_jobs")
    ).one()

    assert row == ("failed", NOW + 30, None, True, False)


def test_errors_are_the_batch_s_or_its_requests(session: Session) -> None:
    add_batch(session, "file", "failed", errors=[{"code": "invalid_json", "line": 1}])
    add_batch(session, "request", "completed", total=2, completed=1, failed=1)
    add_batch(session, "none", "completed", total=2, completed=2)

    rows: dict[str, bool] = dict(
        session.execute(text("SELECT batch_id, has_errors FROM batch_jobs")).all()
    )

    assert rows == {"file": True, "request": True, "none": False}


def test_the_newest_fifty_are_read_from_an_index(session: Session) -> None:
    session.execute(text("SET LOCAL enable_seqscan = off"))
    plan = session.scalars(text("EXPLAIN " + DOCUMENTED_QUERY)).all()

    assert any("batch_created_seconds_idx" in line for line in plan)
    assert not any("Sort" in line for line in plan)
