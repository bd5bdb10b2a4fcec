"""Jobs of any kind to look at: made-up rows of the record, each one possible."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core.models import Job

# Far from what Procrastinate numbers in a test.
_numbers = itertools.count(7_000_001)

_TABLES = (
    *("job", "job_transition", "attempt", "log_line", "waiting_job", "incident", "queue_pause"),
    *("worker", "worker_sample", "rollup", "rollup_span", "dirty_hour"),
)


def add_job(session: Session, status: str = "completed", **fields: Any) -> int:
    """A job made `minutes` ago that waited and ran so many seconds; commits. Returns its id."""
    minutes, wait, run = (
        fields.pop(name, usual)
        for name, usual in (("minutes", 5.0), ("wait_seconds", 2.0), ("run_seconds", 10.0))
    )
    created_at = fields.pop("created_at", datetime.now(UTC) - timedelta(minutes=minutes))
    started_at = created_at + timedelta(seconds=wait)
    values: dict[str, Any] = {
        "id": next(_numbers),
        "created_at": created_at,
        "task": "export",
        "queue": "tasks",
        "status": status,
    }
    if status not in ("pending", "retrying"):
        values |= {
            "started_at": started_at,
            "attempt_started_at": started_at,
            "wait_ms": round(wait * 1000),
            "attempts": 1,
        }
    if status in ("completed", "failed", "cancelled"):
        values |= {
            "ended_at": started_at + timedelta(seconds=run),
            "run_ms": round(run * 1000),
            "progress": 100 if status == "completed" else 40,
        }
    job = Job(**values | fields)
    session.add(job)
    session.commit()
    return int(values["id"])


def clear(session: Session) -> None:
    """No job, incident, pause or worker is left, nor anything counted; commits."""
    session.rollback()
    # Row by row: a page that is being made may still read them.
    for table in _TABLES:
        session.execute(text(f"DELETE FROM {table}"))
    session.commit()


def fill(session: Session) -> None:
    """A busy day: every status, a slow type, three kinds of failure, a queue that is paused."""
    now = datetime.now(UTC)
    session.execute(
        text(
            """
INSERT INTO job (id, created_at, task, queue, status, model, started_at, attempt_started_at, ended_at,
                 run_ms, wait_ms, attempts, progress, error_type, error_message)
SELECT 5000000 + number, made, task, queue, status, model, made + wait * interval '1 ms',
       made + wait * interval '1 ms', made + (wait + run) * interval '1 ms', run, wait, 1, 100,
       CASE WHEN status = 'failed' THEN (ARRAY['OutOfMemoryError', 'ValueError', 'TimeoutError'])[1 + number % 3] END,
       CASE WHEN status = 'failed' THEN (ARRAY['CUDA out of memory on attempt 2 of 3',
           'line ' || number || ': ''amount'' is no number', 'no answer in 300 s'])[1 + number % 3] END
FROM (
    SELECT number, :now - (number * 170 % 86000 + 120) * interval '1 s' AS made,
           (ARRAY['export', 'backup', 'batch_audit', 'run_batch', 'run_batch', 'cleanup'])[1 + number % 6] AS task,
           CASE WHEN number % 6 IN (3, 4) THEN 'model:google/gemma-3-4b-it' ELSE 'tasks' END AS queue,
           CASE WHEN number % 6 IN (3, 4) THEN 'google/gemma-3-4b-it' END AS model,
           CASE WHEN number % 41 < 3 AND number % 5 = 0 THEN 'failed' WHEN number % 97 = 0 THEN 'cancelled'
                ELSE 'completed' END AS status,
           (number * 7919 % 9000) AS wait,
           CASE WHEN number % 6 = 2 THEN 80000 + number * 31 % 40000 ELSE 400 + number * 131 % 21000 END AS run
    FROM generate_series(1, 900) AS number
) AS made
"""
        ),
        {"now": now},
    )
    session.commit()
    add_job(session, "running", minutes=4, task="run_batch", queue="model:google/gemma-3-4b-it",
            model="google/gemma-3-4b-it", progress=62, message="6,204 of 10,000 requests answered")  # fmt: skip
    add_job(session, "running", minutes=1, progress=40, message="row 48,100 of 120,000")
    add_job(session, "pending", minutes=6, task="run_batch", queue="model:Qwen/Qwen3-8B",
            model="Qwen/Qwen3-8B")  # fmt: skip
    add_job(session, "pending", minutes=2, task="backup")
    add_job(session, "pending", minutes=1, task="cleanup", scheduled_at=now + timedelta(hours=3))
