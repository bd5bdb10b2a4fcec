"""Batches to look at: made-up, but each one possible."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from app.core import users
from app.core.models import Batch, File, Result, WebhookDelivery

MODELS = ("google/gemma-3-4b-it", "Qwen/Qwen3-8B", "smollm2-135m-instruct")
HOSTILE = "<script>alert(1)</script>\"'&\u202egnp.exe\x1b[31m" + "long-" * 40


def add_batch(session: Session, status: str = "completed", **fields: Any) -> Batch:
    """A batch of the administrator's in `status`, its times in order; commits.

    `status` may also be `queued` (validated, waiting). `created_at` and the counts can be given.
    """
    owner = users.ensure_admin(session)
    created_at: datetime = fields.pop("created_at", datetime.now(UTC) - timedelta(minutes=10))
    wait, run = fields.pop("wait_seconds", 4.0), fields.pop("run_seconds", 20.0)
    began = created_at + timedelta(seconds=wait)
    ended = began + timedelta(seconds=run)
    total = fields.setdefault("total", 100)
    values: dict[str, Any] = {
        "id": f"batch_{random.randbytes(16).hex()}",
        "owner_id": owner.id,
        "input_file_id": "file-none",
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
        "fingerprint": "",
        "status": "in_progress" if status == "queued" else status,
        "model": MODELS[0],
        "created_at": created_at,
        "expires_at": created_at + timedelta(hours=24),
    }
    if status != "validating":
        values["validated_at"] = created_at + timedelta(seconds=min(wait, 0.4))
    has_run = status not in ("validating", "queued") and not fields.get("errors")
    if has_run:
        values |= {"in_progress_at": began, "first_result_at": began + timedelta(seconds=1)}
        values["last_result_at"] = ended - timedelta(seconds=0.2)
        values["completed"] = total if status in ("completed", "finalizing") else total // 3
    if status in ("completed", "expired", "cancelled"):
        values |= {"finalizing_at": ended - timedelta(seconds=0.2), f"{status}_at": ended}
    elif status == "failed":
        values["failed_at"] = ended
    elif status == "cancelling":
        values["cancelling_at"] = ended
    if has_run:
        values["engine"] = {
            "version": "0.32.0",
            "flags": ["--max-num-seqs", "1024", "--enable-prefix-caching"],
            "sampling_defaults": {"temperature": 0.6, "top_p": 0.95},
        }
    values |= fields
    answered = values.get("completed", 0) + values.get("failed", 0)
    values.setdefault("input_tokens", answered * 412)
    values.setdefault("cached_tokens", answered * 251)
    values.setdefault("output_tokens", answered * 143)
    batch = Batch(**values)
    session.add(batch)
    session.commit()
    return batch


def add_file(session: Session, file_id: str, filename: str, size: int) -> File:
    """The row of a file; commits."""
    owner = users.ensure_admin(session)
    purpose = "batch" if filename.startswith("input") else "batch_output"
    file = File(
        id=file_id, owner_id=owner.id, purpose=purpose, filename=filename, bytes=size, sha256=""
    )
    session.add(file)
    session.commit()
    return file


def add_failure(session: Session, batch: Batch, line: int, message: str) -> None:
    """One failed request of a batch; commits."""
    session.add(
        Result(
            batch_number=batch.number,
            line=line,
            id=f"batch_req_{line}",
            is_success=False,
            status_code=400,
            body=f'{{"error":{{"message":"{message}","type":"invalid_request_error"}}}}',
            last_tried_at=batch.created_at,
        )
    )
    session.commit()


def add_delivery(session: Session, batch: Batch, delivery_id: str, **fields: Any) -> None:
    """An event of a batch with a webhook; commits. Its next try is `seconds` from now."""
    next_try_at = datetime.now(UTC) + timedelta(seconds=fields.pop("seconds", 0))
    session.add(
        WebhookDelivery(
            id=delivery_id,
            batch_id=batch.id,
            type="batch.completed",
            url=(batch.webhook or {})["url"],
            host="hooks.example.org",
            payload="{}",
            next_try_at=next_try_at,
            **fields,
        )
    )
    session.commit()


def fill(session: Session, count: int = 180) -> None:
    """A few days of a busy server: one of every status on top, then a long tail."""
    pick = random.Random(4080)
    now = datetime.now(UTC)

    def some_id() -> str:
        return f"batch_{pick.randbytes(16).hex()}"

    top: tuple[tuple[str, float, dict[str, Any]], ...] = (
        ("validating", 0.1, {"model": None, "total": 0}),
        ("queued", 1.2, {"total": 24_000, "model": MODELS[1]}),
        ("queued", 2.1, {"total": 1_200, "priority": 1}),
        ("in_progress", 4.3, {"total": 10_000, "completed": 6_204, "run_seconds": 240.0}),
        ("cancelling", 6.0, {"total": 5_000, "completed": 1_311, "model": MODELS[1]}),
        ("completed", 9.0, {"total": 2_400, "completed": 2_388, "failed": 12, "run_seconds": 71.4}),
        ("failed", 17.0, {"total": 0, "errors": _ERRORS, "model": None}),
        ("completed", 24.0, {"total": 512, "run_seconds": 18.2}),
        ("cancelled", 36.0, {"total": 900, "completed": 312, "run_seconds": 12.4}),
        ("expired", 1500.0, {"total": 80_000, "completed": 61_402, "run_seconds": 86_000.0}),
    )
    for status, minutes, fields in top:
        add_batch(
            session, status, id=some_id(), created_at=now - timedelta(minutes=minutes), **fields
        )
    for place in range(count):
        created_at = now - timedelta(minutes=45 + place * 38 + pick.random() * 30)
        total = pick.choice((24, 100, 256, 512, 1_000, 2_400, 10_000))
        failed = pick.choice((0, 0, 0, 0, 0, 0, 2, 7)) if total > 24 else 0
        add_batch(
            session,
            "completed",
            id=some_id(),
            created_at=created_at,
            model=pick.choice(MODELS),
            total=total,
            completed=total - failed,
            failed=failed,
            wait_seconds=pick.random() * 40,
            run_seconds=total / pick.uniform(9, 60),
        )


_ERRORS = [
    {"code": "invalid_json_line", "line": 17, "param": None,
     "message": "This line is not parseable as valid JSON."},
    {"code": "duplicate_custom_id", "line": 41, "param": "custom_id",
     "message": "The custom_id 'question-40' was used on line 40 already."},
]  # fmt: skip
