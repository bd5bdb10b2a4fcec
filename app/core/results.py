"""Results: written once under the attempt's token, read back in input order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Row
from sqlalchemy.orm import Session

from app.core import exchanges, jobs, webhooks
from app.core.models import Batch
from app.core.sql import statement


class LeaseLost(Exception):
    """Another attempt holds the batch now; what this one still knows must not be written."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one answer."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class NewResult:
    """One request's end: an HTTP answer (`status_code`, `body`), or an `error` without one."""

    line: int
    id: str
    last_tried_at: datetime
    status_code: int | None = None
    body: str | None = None
    error: str | None = None
    usage: Usage = Usage()
    tries: int = 1

    @property
    def is_success(self) -> bool:
        return self.status_code is not None and 200 <= self.status_code < 300


def write(session: Session, batch: Batch, token: UUID, results: Sequence[NewResult]) -> str:
    """Write results and count them, in one transaction; returns the batch's present status.

    Raises LeaseLost (nothing is written) when `token` no longer holds the batch.
    """
    inserted = {
        row.line
        for row in session.execute(
            statement("results", "write"),
            {
                "batch_number": batch.number,
                "lines": [result.line for result in results],
                "ids": [result.id for result in results],
                "successes": [result.is_success for result in results],
                "status_codes": [result.status_code for result in results],
                "bodies": [result.body for result in results],
                "errors": [result.error for result in results],
                "tries": [result.tries for result in results],
                "last_tried_ats": [result.last_tried_at for result in results],
            },
        )
    }
    new = [result for result in results if result.line in inserted]
    completed = sum(result.is_success for result in new)
    row = session.execute(
        statement("results", "count"),
        {
            "batch_id": batch.id,
            "token": token,
            "completed": completed,
            "failed": len(new) - completed,
            "input_tokens": sum(result.usage.input_tokens for result in new),
            "cached_tokens": sum(result.usage.cached_tokens for result in new),
            "output_tokens": sum(result.usage.output_tokens for result in new),
            "reasoning_tokens": sum(result.usage.reasoning_tokens for result in new),
        },
    ).one_or_none()
    if row is None:
        session.rollback()
        raise LeaseLost(batch.id)
    counts = {"total": row.total, "completed": row.completed, "failed": row.failed}
    webhooks.enqueue_progress(session, batch, len(new), counts)
    jobs.announce(session, "batch", batch.id)
    session.commit()
    return str(row.status)


def read_usage(body: object) -> Usage:
    """The tokens that an answer says it took, in any of the four endpoints' words.

    What an engine of somebody else's says in another shape counts as nothing.
    """
    usage = _first_dict(body, "usage")
    details_in = _first_dict(usage, "prompt_tokens_details", "input_tokens_details")
    details_out = _first_dict(usage, "completion_tokens_details", "output_tokens_details")
    return Usage(
        input_tokens=_first_count(usage, "prompt_tokens", "input_tokens"),
        cached_tokens=_first_count(details_in, "cached_tokens"),
        output_tokens=_first_count(usage, "completion_tokens", "output_tokens"),
        reasoning_tokens=_first_count(details_out, "reasoning_tokens"),
    )


def _first_dict(value: object, *names: str) -> dict[str, Any]:
    found = (value.get(name) for name in names) if isinstance(value, dict) else ()
    return next((part for part in found if isinstance(part, dict)), {})


def _first_count(usage: dict[str, Any], *names: str) -> int:
    found = (usage.get(name) for name in names)
    return next((part for part in found if isinstance(part, int) and 0 <= part < 2**40), 0)


# Raw line ends stand between JSON's tokens; the others within texts, where JSON takes them for
# letters, but Python's splitlines, and so httpx's and the SDK's iter_lines, for the end of a line.
_LINE_ENDS = {b"\n": b" ", b"\r": b" "} | {
    sign.encode(): b"\\u%04x" % ord(sign) for sign in ("\N{NEXT LINE}", "\u2028", "\u2029")
}


def output_line(row: Row[Any], missing: bytes | None = None) -> bytes:
    """One line of an output or error file, as the OpenAI API writes it.

    `row` is one of `results.sql: lines`; without a result, `missing` is the error's JSON. Whatever
    the engine answered, it is one line to every reader.
    """
    line = _output_object(row, missing)
    for sign, escaped in _LINE_ENDS.items():
        line = line.replace(sign, escaped)
    return line + b"\n"


def _output_object(row: Row[Any], missing: bytes | None) -> bytes:
    custom_id = orjson.dumps(row.custom_id)
    if row.id is None:
        return b'{"id":"batch_req_%d","custom_id":%b,"response":null,"error":%b}' % (
            row.line,
            custom_id,
            missing or b"null",
        )
    if row.status_code is None:
        return b'{"id":"%b","custom_id":%b,"response":null,"error":%b}' % (
            row.id.encode(),
            custom_id,
            row.error.encode(),
        )
    return (
        b'{"id":"%b","custom_id":%b,"response":{"status_code":%d,"request_id":"%b","body":%b},'
        b'"error":null}'
        % (
            row.id.encode(),
            custom_id,
            row.status_code,
            row.id.encode(),
            row.body.encode(),
        )
    )


def read_page(
    session: Session,
    batch_number: int,
    *,
    after_line: int,
    limit: int = 500,
    is_success: bool | None = None,
) -> tuple[list[bytes], int]:
    """Some of the results that exist now, and the line to go on after; an empty list ends it.

    `is_success` gives only those of an output file (true) or of an error file (false).
    """
    rows = session.execute(
        statement("results", "answered"),
        {
            "batch_number": batch_number,
            "after_line": after_line,
            "limit": limit,
            "is_success": is_success,
        },
    ).all()
    return [output_line(row) for row in rows], rows[-1].line if rows else after_line


def lines_of(session: Session, batch_number: int) -> Iterator[bytes]:
    """All results that exist now, in pages; in between the connection is free, however slowly
    the client reads."""
    line = 0
    while True:
        lines, line = read_page(session, batch_number, after_line=line)
        session.rollback()
        if not lines:
            return
        yield b"".join(lines)


def list_failed(
    session: Session, batch: Batch, *, limit: int, after_index: int = -1
) -> tuple[list[dict[str, Any]], bool]:
    """A page of failed requests in input order with what went wrong in words; whether more follow.

    `after_index` is the `request_index` (0 = first line) that the page begins behind.
    """
    rows = session.execute(
        statement("results", "failed"),
        {"batch_number": batch.number, "after_line": after_index + 1, "limit": limit + 1},
    ).all()
    found = [
        {
            "id": row.id,
            "custom_id": row.custom_id,
            "request_index": row.line - 1,
            "retry_count": row.tries - 1,
            "last_retry_at": row.last_tried_at if row.tries > 1 else None,
            "created_at": row.created_at,
            "error_message": fault.message,
            "error_type": fault.kind,
        }
        for row in rows[:limit]
        for fault in (exchanges.fault(row.error or row.body),)
    ]
    return found, len(rows) > limit
