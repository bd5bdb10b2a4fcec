"""The record's triggers and functions, by plain SQL: any program may be the one that speaks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from app.core.settings import Settings

Connection = psycopg.Connection[Any]


@pytest.fixture
def db(settings: Settings) -> Iterator[Connection]:
    with psycopg.connect(settings.database_url, autocommit=True) as connection:
        yield connection


def defer(db: Connection, **arguments: Any) -> int:
    row = db.execute(
        "INSERT INTO procrastinate_jobs (queue_name, task_name, args) VALUES ('shop', 'mail', %s)"
        " RETURNING id",
        [json.dumps(arguments)],
    ).fetchone()
    assert row is not None
    return int(row[0])


def fetch(db: Connection, job_id: int) -> None:
    db.execute("UPDATE procrastinate_jobs SET status = 'doing' WHERE id = %s", [job_id])


def end(db: Connection, job_id: int, status: str = "succeeded") -> None:
    db.execute(
        "UPDATE procrastinate_jobs SET status = %s, attempts = attempts + 1 WHERE id = %s",
        [status, job_id],
    )


def say_end(db: Connection, job_id: int, **said: Any) -> None:
    words = json.dumps([{"job": job_id, "number": 1, **said}])
    db.execute("SELECT stoker_end(%s::jsonb)", [words])


def test_a_queue_that_counts_from_one_again_goes_on_and_its_past_stays(db: Connection) -> None:
    first = defer(db, of="first")
    fetch(db, first)
    end(db, first, "failed")
    db.execute("TRUNCATE procrastinate_jobs RESTART IDENTITY CASCADE")
    second = defer(db, of="second")
    assert second == first

    fetch(db, second)
    db.execute(
        "SELECT stoker_progress(%s)",
        [json.dumps([{"job": second, "number": 1, "percent": 50, "message": "half"}])],
    )
    say_end(db, second, outcome="completed", result={"sent": 1})
    end(db, second)

    columns = "arguments ->> 'of', status, attempts, message, result"
    assert db.execute(f"SELECT {columns} FROM job ORDER BY created_at").fetchall() == [
        ("first", "failed", 1, None, None),
        ("second", "completed", 1, "half", {"sent": 1}),
    ]
    attempts = "SELECT outcome FROM attempt ORDER BY job_created_at"
    assert db.execute(attempts).fetchall() == [("failed",), ("completed",)]
