"""What a real housekeeper does to the tables by itself."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.core import jobs, partitions
from app.core.models import RetentionRun, WaitingJob
from app.core.retention_rules import RULES
from app.core.settings import Settings
from tests.conftest import wait_until
from tests.worker.stack import Stack


@pytest.fixture
def stack(settings: Settings, session: Session, tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(settings, session, tmp_path)
    yield stack
    stack.stop()


def test_the_housekeeper_archives_lets_due_jobs_enter_and_keeps_the_retention(
    stack: Stack, session: Session
) -> None:
    now = datetime.now(UTC)
    ended = jobs.defer(session, "cleanup", {}, queue="tasks")
    jobs.cancel_waiting(session, ended)
    waiting = jobs.defer(
        session, "cleanup", {}, queue="tasks", schedule_at=now + timedelta(seconds=900)
    )
    # The first run of all counts from its hour only; this hour may end before it begins.
    session.add(RetentionRun(table_name="job", before=now, started_at=now - timedelta(days=2)))
    coming = partitions.at("job", partitions.at("job", now).end).name
    session.execute(text(f"DROP TABLE {coming}"))
    session.commit()
    stack.start(
        "worker.housekeeper",
        STOKER_ARCHIVE_AFTER_SECONDS="0",
        STOKER_WAITING_HORIZON_SECONDS="1200",
        STOKER_RETENTION_HOUR=str(now.hour),
    )

    todays = select(RetentionRun.table_name).where(RetentionRun.started_at >= now)

    def ids() -> list[int]:
        session.rollback()
        rows = session.execute(text("SELECT id FROM procrastinate_jobs"))
        return [row.id for row in rows]

    try:
        wait_until(lambda: ids() == [waiting], "one job has left and one has entered")
        wait_until(
            lambda: set(RULES) <= set(session.scalars(todays)),
            "the retention has run",
        )
    except AssertionError as fault:
        raise AssertionError(f"{fault}\n{stack.logs()}") from None
    assert session.scalar(select(WaitingJob)) is None
    made = session.execute(text("SELECT to_regclass(:name)"), {"name": coming})
    assert made.scalar_one() is not None
