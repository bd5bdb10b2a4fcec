"""A whole house to look at: every page has something to show."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import bulk_items, queue_pauses, saved_views, users
from app.core.models import AuditEntry, Worker
from app.core.settings import Settings
from tests.pages import (
    day,
    incident_seed,
    job_seed,
    record_seed,
    request_seed,
    schedule_seed,
    seed,
    telling_seed,
)

# What each picture shows. The numbers of jobs and batches are those of `fill`.
PAGES = {
    "overview": "/",
    "timeline": "/timeline?range=6h&pair=export&with=run_batch",
    "jobs": "/jobs?job={job}",
    "jobs-found": "/jobs?status=failed&q=type:export",
    "job": "/jobs/{job}",
    "history": "/history",
    "batch": "/history/{batch}",
    "batch-request": "/history/{batch}/requests/2",
    "batches-compared": "/history/compare?ids={batch},{other_batch}",
    "queue": "/queue",
    "queue-pause": "/queue/model:gemma-3-4b/pause",
    "failures": "/failures",
    "schedules": "/schedules",
    "schedule": "/schedules/{schedule}",
    "schedule-new": "/schedules/new",
    "events": "/events",
    "stats": "/stats",
    "platform": "/platform/jobs/",
    "platform-active": "/platform/jobs/active/",
    "platform-pending": "/platform/jobs/pending/",
    "platform-completed": "/platform/jobs/completed/",
    "platform-failed": "/platform/jobs/failed/",
    "platform-stats": "/platform/jobs/stats/",
    "platform-job": "/platform/jobs/{job}/",
    "tasks": "/tasks",
    "alerts": "/alerts",
    "alert-new": "/alerts/new",
    "webhooks": "/webhooks",
    "dead-letters": "/webhooks/dead-letters",
    "audit": "/audit",
    "storage": "/storage",
    "clean-up": "/storage/clean-up",
    "bulk-actions": "/jobs/bulk-actions",
    "bulk-action": "/jobs/{bulk}",
    "worker": "/queue/workers/{worker}",
    "views": "/views",
    "api": "/openapi",
}

_JOB, _EXPORT, _BULK = 900_001, 900_002, 900_003
_TRACEBACK = """Traceback (most recent call last):
  File "shop/exports.py", line 88, in write_rows
    file.write(line)
OSError: [Errno 28] No space left on device"""
_LOG = (
    ("info", "Exporting the events of camera 4"),
    ("debug", "Window of 10,000 rows"),
    ("info", "Wrote 48,100 of 120,000 rows"),
    ("warning", "Less than 1 GiB is free on /data"),
    ("error", "No space left on device"),
)


def clear(session: Session) -> None:
    """None of it is left; commits."""
    telling_seed.clear(session)
    record_seed.clear(session)
    for table in ("result", "request", "batch", "file", "job_search", "schedule", "saved_view"):
        session.execute(text(f"DELETE FROM {table}"))
    session.commit()


def fill(session: Session, settings: Settings) -> dict[str, str]:
    """Write it all, and commit; what stands in the addresses of `PAGES`."""
    users.ensure_admin(session)
    seed.fill(session)
    day.fill(session)
    _add_jobs(session)
    _add_workers(session)
    schedule = _add_schedules(session)
    _add_incidents(session)
    _add_telling(session)
    _add_traces(session)
    batches = [_add_batch(session, settings, number) for number in range(2)]
    return {
        "job": str(_EXPORT),
        "batch": batches[0],
        "other_batch": batches[1],
        "schedule": schedule,
        "bulk": str(_BULK),
        "worker": str(UUID(int=11)),
    }


def beat(session: Session) -> None:
    """Its workers are heard of; commits."""
    session.execute(text("UPDATE worker SET last_heartbeat_at = now()"))
    session.commit()


def _add_jobs(session: Session) -> None:
    """Beside those of the day: some of each status that a person may act on."""
    job_seed.add_job(session, _JOB, "running", task="export", queue="tasks", progress=40, minutes=2,
                     message="row 48,100 of 120,000", arguments={"format": "csv"})  # fmt: skip
    job_seed.add_job(
        session, _EXPORT, "failed", task="export", queue="tasks", minutes=34, progress=40,
        arguments={"format": "csv", "camera_id": "4", "since": 12345678901234567890},
        error_type="OSError", error_message="[Errno 28] No space left on device",
        message="row 48,100 of 120,000", traceback=_TRACEBACK,
    )  # fmt: skip
    for level, said in _LOG:
        job_seed.add_line(session, _EXPORT, said, level)
    _add_bulk_action(session)
    now = datetime.now(UTC)
    for number, (task, queue, priority) in enumerate(
        (("run_batch", "model:qwen3-8b", 10), ("backup", "tasks", 0), ("batch_audit", "tasks", -5))
    ):
        record_seed.add_job(session, "pending", task=task, queue=queue, priority=priority,
                            minutes=2 + 3 * number, owner_name="ada")  # fmt: skip
    record_seed.add_job(session, "pending", task="cleanup", scheduled_at=now + timedelta(hours=3))
    record_seed.add_job(session, "cancelled", task="cleanup", message="cancelled by ada")
    queue_pauses.pause(
        session, "model:qwen3-8b", "The new weights are being copied", "ada", models=("qwen3-8b",)
    )
    session.commit()


def _add_bulk_action(session: Session) -> None:
    """A retry of what failed, of which two were left out."""
    job_seed.add_job(
        session, _BULK, task="bulk", queue="tasks", minutes=25, owner_name="ada",
        arguments={"action": "retry", "filter": {"status": "failed"}, "scopes": ["submit"]},
        result={"action": "retry", "matching": 3, "done": 1, "skipped": 2, "errors": []},
        items_done=3, items_total=3, message="1 of 3 retried, 2 skipped",
    )  # fmt: skip
    retry = record_seed.add_job(session, "completed", minutes=20, retried_from=_EXPORT)
    bulk_items.record_done(session, _BULK, (_EXPORT, "export"), retry)
    for number in (4302, 4310):
        bulk_items.record_skipped(session, _BULK, (number, "run_batch"), "Its batch is gone.")
    session.commit()


def _add_workers(session: Session) -> None:
    """One with a GPU that runs, and a housekeeper."""
    now = datetime.now(UTC)
    figures = {
        "host_cpu_percent": 27, "host_memory_percent": 34, "memory_bytes": 210_000_000,
        "gpu_utilization": 94, "gpu_memory_percent": 88, "gpu_temperature": 67,
    }  # fmt: skip
    for number, kind in enumerate(("worker", "housekeeper")):
        runs = kind == "worker"
        session.add(
            Worker(
                id=UUID(int=11 + number), kind=kind, name=("gpu-1", "housekeeper-1")[number],
                host="gpu-1", pid=4711 + number, status="running" if runs else "idle",
                started_at=now - timedelta(days=3), last_heartbeat_at=now,
                current_model="gemma-3-4b" if runs else None,
                engine_status="ready" if runs else None, running_job_ids=[_JOB] if runs else [],
                models=["gemma-3-4b", "qwen3-8b"] if runs else [],
                metrics=figures if runs else {},
            )
        )  # fmt: skip
    session.commit()


def _add_schedules(session: Session) -> str:
    """Three, one of them paused; the id of that with a history."""
    nightly = schedule_seed.make(session, "nightly export")
    for minutes in range(60, 60 * 24 * 6, 60 * 24):
        schedule_seed.add_firing(session, nightly, minutes, job_id=_EXPORT)
    schedule_seed.add_firing(session, nightly, 30, reason="missed: 3 runs", planned_runs=3)
    schedule_seed.make(session, "clean-up", trigger={"kind": "interval", "seconds": 3600})
    paused = schedule_seed.make(
        session, "weekly audit", task="batch_audit", args={"model": "gemma-3-4b"}
    )
    paused.paused_at, paused.paused_by = datetime.now(UTC), "ada"
    paused.pause_reason = "The judge is being replaced"
    session.commit()
    return str(nightly.id)


def _add_incidents(session: Session) -> None:
    for number, (level, said) in enumerate(
        (
            ("high", "The engine of gemma-3-4b ran out of memory twice"),
            ("medium", "export failed: no space left on device"),
            ("medium", "batch_audit took 31 min, usually 14"),
            ("low", "clean-up waited 12 min for backup"),
        )
    ):
        incident_seed.add(session, said, risk_level=level, minutes=9 + 47 * number)
    incident_seed.add(
        session, "export failed: no space left on device", minutes=900, risk_level="high",
        reviewed_at=datetime.now(UTC), reviewed_by="ada", verdict="confirmed",
        summary="The disk of /data was full; the next runs failed alike.",
    )  # fmt: skip


def _add_telling(session: Session) -> None:
    """Rules of which one fires, endpoints, deliveries good and dead."""
    rule = telling_seed.add_rule(session, "too many failures")
    telling_seed.add_alert(session, rule)
    telling_seed.add_rule(session, "backlog", kind="queue_age", threshold=1800.0)
    ledger = telling_seed.add_endpoint(session)
    telling_seed.add_endpoint(session, "chat", url="https://chat.example.org/hooks/stoker")
    for minutes in (3, 48, 190):
        telling_seed.add_delivery(session, ledger, minutes=minutes)
    for minutes in (70, 75):
        telling_seed.add_delivery(session, ledger, "dead", minutes=minutes, tries=5)


def _add_traces(session: Session) -> None:
    """What people did and kept."""
    now = datetime.now(UTC)
    for minutes, actor, action, on, details in (
        (4, "ada", "queue.pause", "model:qwen3-8b", "The new weights are being copied"),
        (31, "ben (key ci)", "job.retry", "4302", "as 4311"),
        (55, "ada", "schedule.pause", "3", "The judge is being replaced"),
        (240, "admin", "key.create", "ci", "read, submit"),
    ):
        session.add(AuditEntry(at=now - timedelta(minutes=minutes), actor=actor, action=action,
                               object_id=on, details=details, address="192.0.2.14"))  # fmt: skip
    session.commit()
    admin = users.ensure_admin(session)
    saved_views.create(session, admin.id, "Failed exports", "/jobs?status=failed&type=export")
    saved_views.create(session, admin.id, "This week", "/stats?range=7d")
    session.commit()


def _add_batch(session: Session, settings: Settings, number: int) -> str:
    """The same four questions of one of two models, of which one fails and one is answered otherwise."""
    batch = seed.add_batch(
        session,
        id=f"batch_{'7c' if number else '5f'}1e9a40c3b24d7e8f6a1b2c3d4e5f60",
        model=seed.MODELS[number],
        input_filename="questions.jsonl",
        run_seconds=(12.0, 19.0)[number],
        custom_metadata={"team": "search"},
    )
    request_seed.add_requests(
        session,
        settings,
        batch,
        [
            request_seed.Exchange("sky", answer="Air scatters blue light most."),
            request_seed.Exchange("book", error="The prompt has 9,114 tokens, of at most 8,192.")
            if number == 0
            else request_seed.Exchange("book", answer="It tells of a whale, and of a man."),
            request_seed.Exchange("capital", answer=("Paris.", "It is Paris.")[number]),
            request_seed.Exchange("sum", answer="42"),
        ],
    )
    return batch.id
