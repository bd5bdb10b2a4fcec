"""The history's list to be saved: every batch that the filters find, in the list's order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, g, request

from app.core import batch_lists, history, users
from app.core.batch_lists import Wanted
from app.core.history import HistoryJob
from app.core.models import Batch
from app.extensions import db
from app.pages import downloads
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


@blueprint.get("/export.csv")
def as_csv() -> Response:
    """One line for each batch; no cell is a formula to a spreadsheet."""
    return _export("batches.csv")


@blueprint.get("/export.json")
def as_json() -> Response:
    """An array with one object for each batch."""
    return _export("batches.json")


def _export(name: str) -> Response:
    """Whose a batch is stands there, too, where everybody's are seen."""
    filters = Filters.read(request.args)
    is_of_all = g.actor.owner_filter is None
    columns = [*_COLUMNS, *(["user"] if is_of_all else [])]
    return downloads.table(_rows(filters, is_of_all), columns, name)


def _rows(filters: Filters, is_of_all: bool) -> Iterator[list[list[Any]]]:
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
