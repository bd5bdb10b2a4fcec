"""Validation: one streaming pass over a batch's file, which becomes rows or a list of errors.

It runs in a process of its own (see worker.tasks.batches), so that a million lines neither fill
the worker's memory nor hold up the requests that are in the engine.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

import orjson
from sqlalchemy import func, update
from sqlalchemy.orm import Session

from app.core import jobs, webhooks
from app.core.batches import ENDPOINTS
from app.core.db import driver_connection
from app.core.models import Batch
from app.core.results import LeaseLost
from app.core.sql import statement
from worker.prompts import estimate

ERROR_LIMIT = 100
CUSTOM_ID_LIMIT = 512
_COPY_BYTES = 256 * 1024
_BOM = b"\xef\xbb\xbf"
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


@dataclass(frozen=True)
class Limits:
    """The settings that validation needs, in a form that travels to another process."""

    max_requests: int
    max_tokens: int
    max_line_bytes: int


class LineError(Exception):
    """What is wrong with a line; `line` counts from 1, None speaks of the whole file."""

    def __init__(
        self, code: str, message: str, line: int | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.line = line
        self.param = param

    def as_dict(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "line": self.line,
            "message": self.message,
            "param": self.param,
        }


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


def read_lines(file: BinaryIO, max_line_bytes: int) -> Iterator[tuple[int, int, bytes]]:
    """Each line as (number from 1, position, bytes without its line end).

    A byte order mark, CRLF and blank lines at the end of the file are accepted. A line longer than
    `max_line_bytes` comes out cut, one byte over the limit.
    """
    position = 0
    number = 0
    blanks: list[tuple[int, int, bytes]] = []
    if file.peek(3)[:3] == _BOM:  # type: ignore[attr-defined]
        position = len(file.read(3))
    while raw := file.readline(max_line_bytes + 2):
        number += 1
        start = position
        position += len(raw)
        line = raw.rstrip(b"\r\n")
        if not raw.endswith(b"\n"):
            while (rest := file.readline(1024 * 1024)) and not rest.endswith(b"\n"):
                position += len(rest)
            position += len(rest)
        if not line.strip():
            if len(blanks) < ERROR_LIMIT:
                blanks.append((number, start, b""))
            continue
        yield from blanks
        blanks.clear()
        yield number, start, line


class LineCheck:
    """Checks one line after the other; the first one's model binds the rest."""

    def __init__(
        self, endpoint: str, models: Mapping[str, tuple[str, ...]], limits: Limits
    ) -> None:
        self.endpoint = endpoint
        self.models = models
        self.limits = limits
        self.model: str | None = None

    def read(self, number: int, line: bytes) -> tuple[str, dict[str, Any]]:
        """The line's custom_id and body. Raises LineError."""
        if len(line) > self.limits.max_line_bytes:
            raise LineError(
                "line_too_long",
                f"This line is longer than {self.limits.max_line_bytes} bytes.",
                number,
            )
        try:
            request = orjson.loads(line)
        except orjson.JSONDecodeError:
            raise LineError(
                "invalid_json_line", "This line is not parseable as valid JSON.", number
            ) from None
        if not isinstance(request, dict):
            raise LineError("invalid_request", "This line is not a JSON object.", number)
        custom_id = self._custom_id(number, request)
        self._check_address(number, request)
        return custom_id, self._body(number, request)

    def _custom_id(self, number: int, request: dict[str, Any]) -> str:
        custom_id = request.get("custom_id")
        if custom_id is None:
            raise _missing(number, "custom_id")
        if not isinstance(custom_id, str) or not 0 < len(custom_id) <= CUSTOM_ID_LIMIT:
            raise LineError(
                "invalid_request",
                f"custom_id must be a text of 1 to {CUSTOM_ID_LIMIT} characters.",
                number,
                "custom_id",
            )
        if "\0" in custom_id:
            raise LineError(
                "invalid_request",
                "custom_id must not hold a NUL character.",
                number,
                "custom_id",
            )
        return custom_id

    def _check_address(self, number: int, request: dict[str, Any]) -> None:
        method = request.get("method")
        if method is None:
            raise _missing(number, "method")
        if method != "POST":
            raise LineError("invalid_request", "method must be POST.", number, "method")
        url = request.get("url")
        if url is None:
            raise _missing(number, "url")
        if url not in ENDPOINTS:
            raise LineError(
                "invalid_url",
                f"url must be one of {', '.join(ENDPOINTS)}.",
                number,
                "url",
            )
        if url != self.endpoint:
            raise LineError(
                "url_mismatch",
                f"The URL provided for this request does not match the batch endpoint "
                f"{self.endpoint}.",
                number,
                "url",
            )

    def _body(self, number: int, request: dict[str, Any]) -> dict[str, Any]:
        body = request.get("body")
        if body is None:
            raise _missing(number, "body")
        if not isinstance(body, dict):
            raise LineError("invalid_request", "body must be a JSON object.", number, "body")
        model = body.get("model")
        if model is None:
            raise _missing(number, "body.model")
        if not isinstance(model, str) or model not in self.models:
            raise LineError(
                "model_not_found",
                f"This server has no model {str(model)[:200]!r}.",
                number,
                "body.model",
            )
        if self.model is None:
            self.model = model
        if model != self.model:
            raise LineError(
                "model_mismatch",
                f"All requests of a batch use one model; the first one's is {self.model!r}.",
                number,
                "body.model",
            )
        if self.endpoint not in self.models[model]:
            raise LineError(
                "invalid_url",
                f"The model {model!r} does not serve {self.endpoint}.",
                number,
                "url",
            )
        if body.get("stream"):
            raise LineError(
                "streaming_unsupported",
                "A batch's answers can't be streamed; leave `stream` out.",
                number,
                "body.stream",
            )
        return body


def _missing(number: int, param: str) -> LineError:
    return LineError(
        "missing_required_parameter",
        f"Missing required parameter: {param}.",
        number,
        param,
    )


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
    if len(findings.errors) < ERROR_LIMIT:
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
            if findings.total > check.limits.max_requests:
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
    jobs.announce(session, "batch", batch.id)
