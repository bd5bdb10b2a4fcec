"""The lists of the platform's administration."""

from __future__ import annotations

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.orm import Session

from app.core import platform_jobs


@pytest.mark.parametrize(
    ("kind", "status", "unread"),
    [
        ("active", "running", {"result"}),
        ("completed", "completed", {"result", "arguments"}),
        ("failed", "failed", {"result", "arguments"}),
    ],
)
def test_what_may_be_large_and_is_not_shown_is_not_read(
    session: Session, kind: str, status: str, unread: set[str]
) -> None:
    session.execute(
        text(
            "INSERT INTO job (id, task, queue, status, result)"
            " VALUES (7, 'mail', 'shop', :status, '{}')"
        ),
        {"status": status},
    )
    (job,) = platform_jobs.list_jobs(session, kind, owner_name=None, limit=10)
    assert job.id == 7
    assert set(inspect(job).unloaded) == unread
