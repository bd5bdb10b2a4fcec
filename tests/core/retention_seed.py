"""Jobs and leftovers of long ago, and runs of the retention on them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core import retention, users
from app.core.models import (
    Attempt,
    AuditEntry,
    BrowserSession,
    File,
    Incident,
    Job,
    JobSearch,
    JobTransition,
    WebhookDelivery,
    Worker,
)
from app.core.retention import Outcome
from app.core.settings import Settings

NOW = datetime.now(UTC)
OF_A_JOB = (Job, JobTransition, Attempt, JobSearch)


def add_jobs(
    db: psycopg.Connection[Any], days_ago: float, number: int = 1, status: str = "completed"
) -> None:
    """Jobs that were created, and (if they did) ended, so long ago."""
    moment = NOW - timedelta(days=days_ago)
    is_open = status in ("pending", "running")
    db.execute(
        "WITH new AS ("
        " INSERT INTO job (id, created_at, task, queue, status, ended_at)"
        " SELECT nextval('procrastinate_jobs_id_seq'), %(at)s, 't', 'q', %(status)s, %(ended)s"
        " FROM generate_series(1, %(number)s) RETURNING id, created_at"
        "), tried AS ("
        " INSERT INTO attempt (job_id, job_created_at, number, task, queue)"
        " SELECT id, created_at, 1, 't', 'q' FROM new"
        "), moved AS ("
        " INSERT INTO job_transition (job_id, job_created_at, from_status, to_status)"
        " SELECT id, created_at, 'pending', 'running' FROM new"
        ") INSERT INTO job_search (job_id, job_created_at, words)"
        " SELECT id, created_at, 't' FROM new",
        {
            "at": moment,
            "status": status,
            "ended": None if is_open else moment,
            "number": number,
        },
    )


def run(settings: Settings, *tables: str, **options: Any) -> dict[str, Outcome]:
    return {outcome.table: outcome for outcome in retention.run(settings, tables, **options)}


def counts(session: Session, *models: type[Any]) -> list[int]:
    session.rollback()
    found = [session.scalar(select(func.count()).select_from(model)) or 0 for model in models]
    session.rollback()  # or it would be a reader for whom a partition stays
    return found


def add_leftovers(session: Session) -> None:
    """Of each further table one row to go and one to stay."""
    admin = users.ensure_admin(session)
    for number, days in enumerate((1, 1000)):
        then = NOW - timedelta(days=days)
        name = f"{number}"
        session.add_all(
            [
                AuditEntry(at=then, actor="a", action="b", object_id="c"),
                Incident(
                    source="s",
                    risk_level="low",
                    fingerprint=name,
                    text="t",
                    last_seen_at=then,
                ),
                WebhookDelivery(
                    id=name,
                    batch_id="b",
                    type="t",
                    url="u",
                    host="h",
                    payload="",
                    status="dead",
                    created_at=then,
                ),
                BrowserSession(
                    digest=name.encode(),
                    user_id=admin.id,
                    expires_at=NOW + timedelta(days=2 - days),
                ),
                Worker(
                    id=UUID(int=number),
                    kind="worker",
                    name="w",
                    host="h",
                    pid=1,
                    status="stopped",
                    stopped_at=then,
                ),
                File(
                    id=f"file-{number}",
                    owner_id=admin.id,
                    purpose="batch",
                    filename="f.jsonl",
                    bytes=0,
                    sha256="",
                    expires_at=NOW + timedelta(days=2 - days),
                ),
            ]
        )
    session.add(
        WebhookDelivery(
            id="due",
            batch_id="b",
            type="t",
            url="u",
            host="h",
            payload="",
            created_at=NOW - timedelta(days=1000),
        )
    )
    session.commit()
