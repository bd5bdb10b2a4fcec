"""The history's list to be saved: every batch that the filters find, in the list's order."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
from flask import Blueprint, Response, g, request, stream_with_context

from app.core import batch_lists, history, users
from app.core.batch_lists import Wanted
from app.core.export_formats import cell
from app.core.history import HistoryJob
from app.core.models import Batch
from app.extensions import db
from app.pages.filters import Filters
from app.pages.history import matching_of

blueprint = Blueprint("history_exports", __name__, url_prefix="/history")

_AT_ONCE = 1_000

Value = Callable[[Batch, HistoryJob], Any]
_COLUMNS: dict[str, Value] = {
    "batch_id": lambda batch, job: job.batch_id,
    "status": lambda batch, job: job.status,
    "model": lambda batch, job: job.model,
    "endpoint": lambda batch, job: batch.endpoint,
    "input_file": lambda batch, job: batch.input_filename,
    "created_at": lambda batch, job: job.created_at,
    "started_at": lambda batch, job: batch.in_progress_at,
    "ended_at": lambda batch, job: history.ended_at(batch),
    "total_requests": lambda batch, job: job.total_requests,
    "completed_requests": lambda batch, job: job.completed_requests,
    "failed_requests": lambda batch, job: job.failed_requests,
    "duration_seconds": lambda batch, job: job.duration,
    "requests_per_second": lambda batch, job: job.throughput,
    "input_tokens": lambda batch, job: batch.input_tokens,
    "output_tokens": lambda batch, job: batch.output_tokens,
    "tokens_per_second": lambda batch, job: job.token_throughput,
    "priority": lambda batch, job: job.priority,
    "metadata": lambda batch, job: batch.custom_metadata,
}
Rows = Iterator[list[list[Any]]]


@blueprint.get("/export.csv")
def as_csv() -> Response:
    """One line for each batch; no cell is a formula to a spreadsheet."""
    names, parts = _read()
    return _download(_csv_parts(names, parts), "text/csv", "csv")


@blueprint.get("/export.json")
def as_json() -> Response:
    """An array with one object for each batch."""
    names, parts = _read()
    return _download(_json_parts(names, parts), "application/json", "json")


def _download(parts: Iterator[bytes], kind: str, suffix: str) -> Response:
    # What can't be read, such as a search, is refused while there still is a status to answer with.
    first = next(parts)

    def all_parts() -> Iterator[bytes]:
        yield first
        yield from parts

    response = Response(stream_with_context(all_parts()), mimetype=kind)
    response.headers["Content-Disposition"] = f'attachment; filename="batches.{suffix}"'
    return response


def _read() -> tuple[list[str], Rows]:
    """What the columns are called, and the rows; whose a batch is, where everybody's are seen."""
    filters = Filters.read(request.args)
    is_of_all = g.actor.owner_filter is None
    return [*_COLUMNS, *(["user"] if is_of_all else [])], _rows(filters, is_of_all)


def _rows(filters: Filters, is_of_all: bool) -> Rows:
    """All that match, some at once; in between the connection is free, however slow the reader is."""
    session = db.session()
    now = datetime.now(UTC)
    wanted = Wanted(filters.sort, filters.order, _AT_ONCE)
    for found in batch_lists.walk(session, matching_of(session, filters, now), wanted):
        names = users.names(session, list({batch.owner_id for batch in found})) if is_of_all else {}
        rows = []
        for batch in found:
            job = history.describe(batch, now)
            row = [value(batch, job) for value in _COLUMNS.values()]
            rows.append([*row, names.get(batch.owner_id)] if is_of_all else row)
        session.rollback()
        session.expunge_all()
        yield rows


def _csv_parts(names: list[str], parts: Rows) -> Iterator[bytes]:
    page = io.StringIO(newline="")
    writer = csv.writer(page)
    writer.writerow(names)
    for rows in parts:
        writer.writerows([cell(value) for value in row] for row in rows)
        yield page.getvalue().encode()
        page.seek(0)
        page.truncate()


def _json_parts(names: list[str], parts: Rows) -> Iterator[bytes]:
    begin = b"[\n"
    for rows in parts:
        lines = [orjson.dumps(dict(zip(names, row, strict=True))) for row in rows]
        yield begin + b",\n".join(lines)
        begin = b",\n"
    yield b"\n]\n"
