"""Jobs to look at: records of every status, and jobs that wait in the queue."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import sessions, users

_TABLES = (
    "job, attempt, job_transition, job_search, log_line, waiting_job, queue_pause, rollup, rollup_span,"
    " dirty_hour, job_dependency, idempotency_key, procrastinate_jobs"
)


@pytest.fixture
def no_jobs(session: Session) -> Iterator[None]:
    """No job of another test is in the way, and none of this one stays."""
    empty(session)
    yield
    empty(session)


def empty(session: Session) -> None:
    session.rollback()
    session.execute(text(f"TRUNCATE {_TABLES} CASCADE"))
    session.commit()


def add_job(session: Session, job_id: int, status: str = "completed", **fields: Any) -> int:
    """A job's record with its attempt, and what it is found by; commits.

    Its times are in order, `minutes` ago. What is not given is as it may be in that status.
    """
    users.ensure_admin(session)
    created_at = datetime.now(UTC) - timedelta(minutes=fields.pop("minutes", 5.0))
    traceback = fields.pop("traceback", None)
    values: dict[str, Any] = {
        "id": job_id,
        "created_at": created_at,
        "task": "mail",
        "queue": "shop",
        "owner_name": "admin",
        "arguments": {},
        "status": status,
        "progress": 100 if status == "completed" else 0,
    }
    has_run = status in ("running", "completed", "failed", "cancelled")
    if has_run:
        started_at = created_at + timedelta(seconds=2)
        values |= {"started_at": started_at, "attempt_started_at": started_at, "attempts": 1}
        values |= {"worker_name": "gpu-1", "wait_ms": 2000}
    if status in ("completed", "failed", "cancelled"):
        values |= {"ended_at": created_at + timedelta(seconds=32), "run_ms": 30_000}
    values |= fields
    for name in ("arguments", "result"):
        if name in values and not isinstance(values[name], str):
            values[name] = json.dumps(values[name])
    names = ", ".join(values)
    session.execute(
        text(f"INSERT INTO job ({names}) VALUES ({', '.join(f':{name}' for name in values)})"),
        values,
    )
    words = f"{job_id} {values['task']} {values['arguments']} {values.get('error_message') or ''}"
    session.execute(
        text("INSERT INTO job_search (job_id, job_created_at, words) VALUES (:id, :at, :words)"),
        {"id": job_id, "at": values["created_at"], "words": words.lower()},
    )
    if has_run:
        session.execute(
            text(
                "INSERT INTO attempt (job_id, job_created_at, number, task, queue, worker_name,"
                " started_at, ended_at, outcome, error_type, error_message, traceback) VALUES"
                " (:id, :created_at, 1, :task, :queue, 'gpu-1', :started_at, :ended_at, :outcome,"
                " :error_type, :error_message, :traceback)"
            ),
            {
                "ended_at": None,
                "error_type": None,
                "error_message": None,
                **values,
                "outcome": None if status == "running" else status,
                "traceback": traceback,
            },
        )
        _add_transitions(session, values, status)
    session.commit()
    return job_id


def _add_transitions(session: Session, values: dict[str, Any], status: str) -> None:
    ways = [("pending", "running", values["started_at"])]
    if status != "running":
        ways.append(("running", status, values["ended_at"]))
    for begin, end, at in ways:
        session.execute(
            text(
                "INSERT INTO job_transition (job_id, job_created_at, at, from_status, to_status,"
                " triggered_by) VALUES (:id, :created, :at, :begin, :end, 'gpu-1')"
            ),
            {
                "id": values["id"],
                "created": values["created_at"],
                "at": at,
                "begin": begin,
                "end": end,
            },
        )


def add_line(session: Session, job_id: int, message: str, level: str = "info") -> None:
    """A line of a job's log; commits."""
    session.execute(
        text("INSERT INTO log_line (job_id, level, message) VALUES (:id, :level, :message)"),
        {"id": job_id, "level": level, "message": message},
    )
    session.commit()


def queue_job(session: Session, task: str = "mail", queue: str = "shop", **fields: Any) -> int:
    """A job that waits in Procrastinate's table, and so in the record; commits. Its id."""
    values = {"task_name": task, "queue_name": queue, "args": json.dumps(fields.pop("args", {}))}
    values |= fields
    names = ", ".join(values)
    job_id: int = session.execute(
        text(
            f"INSERT INTO procrastinate_jobs ({names})"
            f" VALUES ({', '.join(f':{name}' for name in values)}) RETURNING id"
        ),
        values,
    ).scalar_one()
    session.commit()
    return job_id


def move(session: Session, job_id: int, *statuses: str) -> None:
    """A queued job's way through Procrastinate's statuses; commits."""
    for status in statuses:
        session.execute(
            text(
                "UPDATE procrastinate_jobs SET status = CAST(:status AS procrastinate_job_status)"
                " WHERE id = :id"
            ),
            {"status": status, "id": job_id},
        )
    session.commit()


def sign_in(session: Session, name: str, url: str) -> Any:
    """The cookie of a user's browser session on the server of an address; commits."""
    link = sessions.create_sign_in_link(session, users.get(session, name), 10)
    token = sessions.consume_sign_in_link(session, link, session_days=1)
    session.commit()
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}"
    return {"name": f"stoker_session_{parts.port}", "value": token, "url": origin}


def fill(session: Session, count: int = 40) -> None:
    """Some of each status on top, then a long tail."""
    add_job(
        session,
        900_001,
        "running",
        task="batch_audit",
        progress=67,
        message="Chunking document 2 of 3",
        minutes=2,
    )
    add_job(
        session,
        900_002,
        "failed",
        task="export",
        error_type="OSError",
        error_message="No space left on device",
        traceback="Traceback (most recent call last):\n  OSError: No space left on device",
        minutes=4,
    )
    add_job(session, 900_003, "cancelled", task="cleanup", minutes=6, message="cancelled by ada")
    add_job(session, 900_004, "pending", task="re_evaluation", minutes=7)
    add_job(
        session,
        900_005,
        "pending",
        task="backup",
        minutes=7,
        scheduled_at=datetime.now(UTC) + timedelta(hours=3),
    )
    add_job(session, 900_006, "retrying", task="mail", minutes=8, attempts=1)
    for number in range(count):
        add_job(
            session,
            800_000 + number,
            "completed",
            task=("export", "mail", "cleanup")[number % 3],
            minutes=10 + number * 7,
            message="Wrote 1,204 rows",
            result={"rows": 1204},
        )
