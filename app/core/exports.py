"""Exports: jobs, events or a batch's results as one stream of bytes, however many they are.

The three formats hold the same rows: CSV for spreadsheets, JSON with one row a line (as `import`
reads it), ZIP with both. Values keep what they are: times as ISO 8601, objects as JSON.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Executable, Select, exists, func, select
from sqlalchemy.orm import Session

from app.core import batches, incident_matching, job_search, search_conditions
from app.core.export_formats import Row, pieces
from app.core.models import Incident, Job, Request, Result
from app.core.tasks import BulkFilter, Export

_JOB_COLUMNS = tuple(each for each in Job.__table__.columns if each.name != "is_needed")
_ROWS_AT_ONCE = 1000


class Out(Protocol):
    """Where the bytes go."""

    def write(self, data: bytes, /) -> int: ...


@dataclass(frozen=True)
class Selected:
    """Rows to export: how many, what their columns are called, and how to read them once more."""

    what: str
    total: int
    columns: tuple[str, ...]
    query: Executable
    parameters: dict[str, Any]


def find(session: Session, asked: Export, owner_name: str | None, owner_id: int | None) -> Selected:
    """What is asked for, as far as the owner may see it (None: all of it).

    Raises NotFound for a batch that is absent or somebody else's.
    """
    match asked.what:
        case "jobs" if asked.filter is not None:
            return find_jobs(session, asked.filter, owner_name or asked.owner)
        case "jobs":
            query = _jobs(asked)
            if owner_name is not None:
                query = query.where(Job.owner_name == owner_name)
            return _selected(session, "jobs", query, (Job.created_at, Job.id))
        case "events":
            query = _events(asked)
            if owner_name is not None:
                is_own = exists().where(Job.id == Incident.job_id, Job.owner_name == owner_name)
                query = query.where(is_own)
            return _selected(session, "events", query, (Incident.opened_at, Incident.id))
        case _:
            batch = batches.get(session, asked.batch_id or "", owner_id)
            answers: Any = (
                select(
                    Request.custom_id,
                    (Request.line - 1).label("request_index"),
                    Result.id,
                    Result.is_success,
                    Result.status_code,
                    Result.body,
                    Result.error,
                    Result.tries,
                    Result.created_at,
                )
                .join(
                    Result,
                    (Result.batch_number == Request.batch_number) & (Result.line == Request.line),
                    isouter=True,
                )
                .where(Request.batch_number == batch.number)
            )
            return _selected(session, "results", answers, (Request.line,))


def find_jobs(session: Session, asked: BulkFilter, owner_name: str | None) -> Selected:
    """All jobs that a search finds, of one user or (None) of everybody. Raises Invalid."""
    search = search_conditions.read_filter(asked, owner_name)
    query = job_search.everything(search).select(*_JOB_COLUMNS)
    return _selected(session, "jobs", query, (Job.created_at, Job.id))


def _selected(session: Session, what: str, query: Select[Any], order: tuple[Any, ...]) -> Selected:
    total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
    return Selected(what, total, tuple(query.selected_columns.keys()), query.order_by(*order), {})


def _jobs(asked: Export) -> Select[Any]:
    query = select(*_JOB_COLUMNS)
    if asked.status:
        statuses = {"running" if word == "processing" else word for word in asked.status}
        query = query.where(Job.status.in_(statuses))
    for column, value in (
        (Job.task, asked.job_type),
        (Job.queue, asked.queue),
        (Job.owner_name, asked.owner),
        (Job.worker_name, asked.worker),
    ):
        if value is not None:
            query = query.where(column == value)
    if asked.has_error is not None:
        has_error = Job.error_message.is_not(None)
        query = query.where(has_error if asked.has_error else ~has_error)
    return _within(query, Job.created_at, asked)


def _events(asked: Export) -> Select[Any]:
    wanted = incident_matching.Wanted(
        source=asked.source, risk_level=asked.risk_level, is_reviewed=asked.reviewed
    )
    conditions = incident_matching.conditions(wanted, asked.owner)
    query = select(*Incident.__table__.columns).where(*conditions)
    return _within(query, Incident.opened_at, asked)


def _within(query: Select[Any], column: Any, asked: Export) -> Select[Any]:
    if asked.start_date is not None:
        query = query.where(column >= asked.start_date)
    if asked.end_date is not None:
        query = query.where(column <= asked.end_date)
    return query


def write(
    session: Session,
    selected: Selected,
    form: str,
    out: Out,
    report: Callable[[int], None] = lambda rows: None,
) -> int:
    """Write the rows in a format; returns how many there were.

    The session's transaction should be one snapshot (REPEATABLE READ): a ZIP reads the rows twice.
    `report` hears of each further part of the rows, and may raise to end it.
    """
    if form != "zip":
        return _drain(
            pieces(_read(session, selected, report), selected.what, selected.columns, form), out
        )
    # Without a name for where it is, the archive is written as a stream.
    with zipfile.ZipFile(_Stream(out), "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open(f"{selected.what}.json", "w", force_zip64=True) as entry:
            parts = _read(session, selected, lambda rows: report(rows // 2))
            written = _drain(pieces(parts, selected.what, selected.columns, "json"), entry)
        with archive.open(f"{selected.what}.csv", "w", force_zip64=True) as entry:
            parts = _read(session, selected, lambda rows: report((written + rows) // 2))
            _drain(pieces(parts, selected.what, selected.columns, "csv"), entry)
    return written


def stream(session: Session, selected: Selected, form: str) -> Iterator[bytes]:
    """The rows as `csv`, `json` or `ndjson`, piece by piece, as they are read.

    The session's transaction ends with them, also where their reader went before.
    """
    parts = _read(session, selected, lambda rows: None)
    try:
        yield from pieces(parts, selected.what, selected.columns, form)
    finally:
        session.rollback()


def _drain(pieces: Generator[bytes, None, int], out: Out) -> int:
    while True:
        try:
            out.write(next(pieces))
        except StopIteration as end:
            return int(end.value)


class _Stream:
    def __init__(self, out: Out) -> None:
        self._out = out

    def write(self, data: bytes) -> int:
        return self._out.write(data)

    def flush(self) -> None:
        """Nothing is held back here."""

    def close(self) -> None:
        """The file is its owner's to close."""


def _read(
    session: Session, selected: Selected, report: Callable[[int], None]
) -> Iterator[Sequence[Row]]:
    """The rows by a server-side cursor, some at once: memory does not grow with them."""
    found = session.execute(
        selected.query, selected.parameters, execution_options={"yield_per": _ROWS_AT_ONCE}
    )
    rows = 0
    for part in found.partitions():
        yield part
        rows += len(part)
        report(rows)
