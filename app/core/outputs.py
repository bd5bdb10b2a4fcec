"""The end of a batch: its output and error file, written in input order, and its final status."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import func, update
from sqlalchemy.orm import Session

from app.core import files, jobs, webhooks
from app.core.models import Batch
from app.core.results import LeaseLost, output_line
from app.core.settings import Settings
from app.core.sql import statement
from app.core.storage import Draft

# Why a request of an ended batch has no result of its own, by the batch's final status.
_MISSING = {
    "cancelled": ("batch_cancelled", "The batch was cancelled before this request was answered."),
    "expired": (
        "batch_expired",
        "This request could not be executed before the completion window expired.",
    ),
    "failed": ("batch_failed", "The batch failed before this request was answered."),
}
_END_AT = {
    "completed": "completed_at",
    "cancelled": "cancelled_at",
    "expired": "expired_at",
    "failed": "failed_at",
}


class Incomplete(Exception):
    """A batch was to be completed that still has requests without a result."""


def finalize(
    session: Session,
    settings: Settings,
    batch: Batch,
    token: UUID,
    status: str,
    errors: list[dict[str, Any]] | None = None,
) -> None:
    """Write the batch's files and move it to its final `status`; commits.

    May be repeated after a crash. Raises LeaseLost, and Incomplete when `status` is completed and
    a result is missing.
    """
    if status == "completed":
        change = {"status": "finalizing", "finalizing_at": func.clock_timestamp()}
        _move(session, batch, token, ("in_progress", "finalizing"), change)
        session.commit()
    values: dict[str, Any] = {"status": status, _END_AT[status]: func.clock_timestamp()}
    if errors is not None:
        values["errors"] = errors
    with Draft(settings) as output, Draft(settings) as error:
        lines = _write_lines(session, batch, status, output, error)
        if status == "completed" and lines != batch.total:
            raise Incomplete(f"{lines} lines for {batch.total} requests")
        for kind, draft in (("output", output), ("error", error)):
            if draft.bytes:
                draft.keep()
                values[f"{kind}_file_id"] = _add_file(session, settings, batch, draft, kind)
        _move(session, batch, token, None, values)
    webhooks.enqueue(session, batch, status)
    jobs.announce(session, "batch", batch.id)
    session.commit()


def _move(
    session: Session,
    batch: Batch,
    token: UUID,
    before: tuple[str, ...] | None,
    values: dict[str, Any],
) -> None:
    """Change the batch under its token. Raises LeaseLost."""
    change = update(Batch).where(Batch.id == batch.id, Batch.attempt_token == token)
    if before is not None:
        change = change.where(Batch.status.in_(before))
    if not session.execute(change.values(**values)).rowcount:  # type: ignore[attr-defined]
        session.rollback()
        raise LeaseLost(batch.id)


def _write_lines(session: Session, batch: Batch, status: str, output: Draft, error: Draft) -> int:
    missing = None
    if status in _MISSING:
        code, message = _MISSING[status]
        missing = orjson.dumps({"code": code, "message": message})
    lines = 0
    rows = session.execute(
        statement("results", "lines").execution_options(yield_per=1000),
        {"batch_number": batch.number},
    )
    for row in rows:
        if row.id is None and missing is None:
            raise Incomplete(f"line {row.line} has no result")
        (output if row.is_success else error).write(output_line(row, missing))
        lines += 1
    return lines


def _add_file(session: Session, settings: Settings, batch: Batch, draft: Draft, kind: str) -> str:
    seconds = batch.output_expires_after_seconds or settings.file_days * 86_400
    now = datetime.now(UTC)
    file = files.add(
        session,
        draft,
        owner_id=batch.owner_id,
        purpose="batch_output",
        filename=f"{batch.id}_{kind}.jsonl",
        created_at=now,
        expires_at=now + timedelta(seconds=seconds),
    )
    return file.id
