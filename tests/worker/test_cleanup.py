"""The task `cleanup`, run by a real worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from app.core.models import Job, LogLine
from app.core.settings import Settings
from tests.conftest import wait_until
from tests.worker.stack import Stack
from tests.worker.test_export import run


@pytest.fixture
def stack(settings: Settings, session: Session, tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(settings, session, tmp_path)
    stack.write_models(fake={})
    yield stack
    stack.stop()


def test_a_cleanup_counts_first_then_removes_and_says_what_it_did(stack: Stack) -> None:
    stack.session.execute(
        text(
            "INSERT INTO job (id, created_at, task, queue, status, ended_at)"
            " SELECT n, now() - interval '200 days', 't', 'q', 'completed',"
            " now() - interval '200 days' FROM generate_series(1000001, 1000025) AS n"
        )
    )
    stack.session.commit()
    stack.start()
    dry = run(stack, "cleanup", dry_run=True)
    assert dry.status == "completed", stack.logs()
    assert (dry.result["rows"], dry.result["tables"]["job"]) == (25, 25)
    job = run(stack, "cleanup")
    assert job.status == "completed", stack.logs()
    assert job.result["tables"]["job"] == 25
    assert (job.progress, job.message) == (100, f"Removed {job.result['rows']} rows")
    old = select(func.count()).select_from(Job).where(Job.id > 1000000)
    assert stack.session.scalar(old) == 0
    lines = select(LogLine.message).where(LogLine.job_id == job.id)
    # A job's last lines are written soon after its end.
    wait_until(
        lambda: any("job: 25 rows" in message for message in stack.session.scalars(lines)),
        "the cleanup's lines",
    )
