"""Exports: jobs, events or a batch's results as one stream of bytes, however many they are.

The three formats hold the same rows: CSV for spreadsheets, JSON with one row a line (as `import`
reads it), ZIP with both. Values keep what they are: times as ISO 8601, objects as JSON.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import orjson
from sqlalchemy import Executable, Select, exists, func, select
from sqlalchemy.orm import Session

from app.core import batches
from app.core.models import Incident, Job, Request, Result
from app.core.tasks import Export

VERSION = 1
# What holds any JSON value, and is JSON in a CSV cell, too.
JSON_COLUMNS = {"arguments", "result", "details"}

_ROWS_AT_ONCE = 1000
# What spreadsheets take for a formula; the wide signs are read like the narrow ones.
_FORMULA = re.compile("'*[=+\\-@\t\r\n＝＋－＠]")

Row = Sequence[Any]


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


def _selected(session: Session, what: str, query: Select[Any], order: tuple[Any, ...]) -> Selected:
    total = session.scalar(select(func.count()).select_from(query.subquery())) or 0
    return Selected(what, total, tuple(query.selected_columns.keys()), query.order_by(*order), {})


def _jobs(asked: Export) -> Select[Any]:
    query = select(*(each for each in Job.__table__.columns if each.name != "is_needed"))
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
    query = select(*Incident.__table__.columns)
    if asked.source is not None:
        query = query.where(Incident.source == asked.source)
    if asked.risk_level is not None:
        query = query.where(Incident.risk_level == asked.risk_level)
    if asked.owner is not None:
        query = query.where(
            exists().where(Job.id == Incident.job_id, Job.owner_name == asked.owner)
        )
    if asked.reviewed is not None:
        is_reviewed = Incident.reviewed_at.is_not(None)
        query = query.where(is_reviewed if asked.reviewed else ~is_reviewed)
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
    match form:
        case "csv":
            return _write_csv(_read(session, selected, report), selected, out)
        case "json":
            return _write_json(_read(session, selected, report), selected, out)
    # Without a name for where it is, the archive is written as a stream.
    with zipfile.ZipFile(_Stream(out), "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open(f"{selected.what}.json", "w", force_zip64=True) as entry:
            written = _write_json(
                _read(session, selected, lambda rows: report(rows // 2)), selected, entry
            )
        with archive.open(f"{selected.what}.csv", "w", force_zip64=True) as entry:
            _write_csv(
                _read(session, selected, lambda rows: report((written + rows) // 2)),
                selected,
                entry,
            )
    return written


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


def _write_csv(parts: Iterable[Sequence[Row]], selected: Selected, out: Out) -> int:
    page = io.StringIO(newline="")
    writer = csv.writer(page)
    writer.writerow(selected.columns)
    rows = 0
    for part in parts:
        writer.writerows(
            [
                cell(_json(value) if column in JSON_COLUMNS else value)
                for column, value in zip(selected.columns, row, strict=True)
            ]
            for row in part
        )
        rows += len(part)
        _empty(page, out)
    _empty(page, out)
    return rows


def _json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


def _empty(page: io.StringIO, out: Out) -> None:
    out.write(page.getvalue().encode())
    page.seek(0)
    page.truncate()


def cell(value: Any) -> str | int | float | None:
    """A CSV cell that no spreadsheet takes for a formula: such a text gets an apostrophe in front.

    What already begins with apostrophes before such a sign gets one more, so that `plain` brings
    back exactly what there was. Numbers stay numbers.
    """
    match value:
        case None | float():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return value
        case datetime():
            return value.isoformat()
        case str():
            words = value
        case _:
            words = orjson.dumps(value, default=str).decode()
    return "'" + words if _FORMULA.match(words) else words


def plain(words: str) -> str:
    """What `cell` was given."""
    return words[1:] if words.startswith("'") and _FORMULA.match(words) else words


def _write_json(parts: Iterable[Sequence[Row]], selected: Selected, out: Out) -> int:
    head = {
        "kind": "stoker.export",
        "version": VERSION,
        "what": selected.what,
        "exported_at": datetime.now(UTC),
    }
    out.write(orjson.dumps(head)[:-1] + b',"items":[')
    rows = 0
    for part in parts:
        lines = [
            orjson.dumps(dict(zip(selected.columns, row, strict=True)), default=str) for row in part
        ]
        out.write((b"\n" if rows == 0 else b",\n") + b",\n".join(lines))
        rows += len(part)
    out.write(b'\n],"count":%d}\n' % rows)
    return rows
