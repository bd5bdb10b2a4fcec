"""Validation: one streaming pass over a batch's file, which becomes rows or a list of errors.

It runs in a process of its own (see worker.steps), so that a million lines neither fill
the worker's memory nor hold up the requests that are in the engine.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import func, update
from sqlalchemy.orm import Session

from app.core import jobs, webhooks
from app.core.db import driver_connection
from app.core.models import Batch
from app.core.results import LeaseLost
from app.core.sql import statement
from worker.lines import ERROR_LIMIT, Limits, LineCheck, LineError, read_lines
from worker.prompts import estimate

_COPY_BYTES = 256 * 1024
# COPY's text format: these five characters are escaped.
_ESCAPES = str.maketrans(
    {
        "\\": "\\\\",
        "\t": "\\t",
        "\n": "\\n",
        "\r": "\\r",
        "\b": "\\b",
        "\f": "\\f",
        "\v": "\\v",
    }
)


@dataclass
class Findings:
    """What a pass has found so far."""

    total: int = 0
    estimated_tokens: int = 0
    model: str | None = None
    errors: list[LineError] = field(default_factory=list)

    def add(self, error: LineError) -> None:
        """Keep the first errors only: a hundred say enough."""
        if len(self.errors) < ERROR_LIMIT:
            self.errors.append(error)


def validate(
    session: Session,
    batch: Batch,
    token: UUID,
    path: Path,
    models: Mapping[str, tuple[str, ...]],
    limits: Limits,
) -> Findings:
    """Read the whole file, keep its requests, and write what follows onto the batch; commits.

    Raises LeaseLost when `token` no longer holds the batch, OSError when the file can't be read.
    """
    findings = Findings()
    check = LineCheck(batch.endpoint, models, limits)
    try:
        _copy_requests(session, batch, path, check, findings)
    except LineError as stop:  # about the whole file: there is no point in reading on
        session.rollback()
        findings.errors = [stop]
    findings.model = check.model
    if not findings.errors:
        _check_whole(findings, limits)
    _add_duplicates(session, batch, findings)
    if findings.errors:
        session.rollback()
    _record(session, batch, token, findings)
    session.commit()
    return findings


def _copy_requests(
    session: Session, batch: Batch, path: Path, check: LineCheck, findings: Findings
) -> None:
    columns = "batch_number, line, custom_id, position, length, max_tokens, prefix_key"
    cursor = driver_connection(session).cursor()
    buffer: list[str] = []
    size = 0
    with (
        path.open("rb") as file,
        cursor.copy(f"COPY request ({columns}) FROM STDIN") as copy,
    ):
        for number, position, line in read_lines(file, check.limits.max_line_bytes):
            findings.total += 1
            if 0 < check.limits.max_requests < findings.total:
                raise LineError(
                    "too_many_tasks",
                    f"A batch holds at most {check.limits.max_requests} requests.",
                )
            try:
                custom_id, body = check.read(number, line)
            except LineError as error:
                findings.add(error)
                continue
            cost = estimate(batch.endpoint, body)
            findings.estimated_tokens += cost.tokens
            row = (
                f"{batch.number}\t{number}\t{custom_id.translate(_ESCAPES)}\t{position}"
                f"\t{len(line)}\t{cost.max_tokens}\t{cost.prefix_key}\n"
            )
            buffer.append(row)
            size += len(row)
            if size > _COPY_BYTES:
                copy.write("".join(buffer))
                buffer.clear()
                size = 0
        copy.write("".join(buffer))


def _check_whole(findings: Findings, limits: Limits) -> None:
    if findings.total == 0:
        findings.add(LineError("empty_file", "The file holds no request."))
    if findings.estimated_tokens > limits.max_tokens:
        findings.add(
            LineError(
                "token_limit_exceeded",
                f"About {findings.estimated_tokens} tokens in one batch; the limit is "
                f"{limits.max_tokens}.",
            )
        )


def _add_duplicates(session: Session, batch: Batch, findings: Findings) -> None:
    rows = session.execute(
        statement("requests", "duplicates"),
        {"batch_number": batch.number, "limit": ERROR_LIMIT},
    )
    duplicates = [
        LineError(
            "duplicate_custom_id",
            f"The custom_id {row.custom_id[:200]!r} was used before, in line {row.first_line}.",
            row.line,
            "custom_id",
        )
        for row in rows
    ]
    merged = heapq.merge(findings.errors, duplicates, key=lambda error: error.line or 0)
    findings.errors = list(merged)[:ERROR_LIMIT]


def _record(session: Session, batch: Batch, token: UUID, findings: Findings) -> None:
    now: Any = func.clock_timestamp()
    values: dict[str, datetime | Any] = {"model": findings.model, "validated_at": now}
    if findings.errors:
        errors = [error.as_dict() for error in findings.errors]
        values |= {"status": "failed", "failed_at": now, "errors": errors}
    else:
        values |= {
            "status": "in_progress",
            "total": findings.total,
            "estimated_tokens": findings.estimated_tokens,
        }
    held = session.execute(
        update(Batch)
        .where(
            Batch.id == batch.id,
            Batch.attempt_token == token,
            Batch.status == "validating",
        )
        .values(**values)
    )
    if not held.rowcount:  # type: ignore[attr-defined]
        session.rollback()
        raise LeaseLost(batch.id)
    if findings.errors:
        webhooks.enqueue(session, batch, "failed")
    if batch.job_id is not None and findings.model is not None:
        jobs.name(session, batch.job_id, model=findings.model)
    jobs.announce(session, "batch", batch.id)
