"""Imports: what `app.core.exports` wrote, read back as history. Nothing imported can ever run.

A first pass reads and checks everything, a second one writes; what is there already is left alone,
so that the same file twice adds nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy.orm import Session

from app.core import json_text
from app.core.errors import Invalid
from app.core.export_reader import ExportReader, Line
from app.core.models import JOB_FINAL
from app.core.sql import statement

_MOST_ERRORS = 20
_ROWS_AT_ONCE = 500
# Ids of imported jobs whose own id is another's here: beyond any that the queue will give.
_FIRST_FOREIGN_ID = 2**52

Count = Annotated[int, Field(ge=0, le=2**62)]
Number = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]
Report = Callable[[int], None]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid")


class JobRow(_Row):
    """A job as it is exported."""

    id: Annotated[int, Field(ge=1, le=2**62)]
    created_at: AwareDatetime
    created_by: str | None = None
    task: str
    queue: str
    priority: Number = 0
    lock: str | None = None
    queueing_lock: str | None = None
    arguments: dict[str, Any] = {}
    scheduled_at: AwareDatetime | None = None
    owner_name: str | None = None
    model: str | None = None
    retried_from: int | None = None
    max_attempts: Number | None = None
    timeout_seconds: float | None = None
    status: Literal["pending", "retrying", "running", "completed", "failed", "cancelled"]
    attempts: Annotated[Number, Field(ge=0)] = 0
    cancel_requested_at: AwareDatetime | None = None
    abort_requested_at: AwareDatetime | None = None
    cancel_acknowledged_at: AwareDatetime | None = None
    progress: Annotated[int, Field(ge=0, le=100)] = 0
    items_done: Count | None = None
    items_total: Count | None = None
    message: str | None = None
    worker_name: str | None = None
    started_at: AwareDatetime | None = None
    attempt_started_at: AwareDatetime | None = None
    ended_at: AwareDatetime | None = None
    run_ms: Count = 0
    wait_ms: Count | None = None
    result: Any = None
    result_bytes: Count | None = None
    error_type: str | None = None
    error_message: str | None = None


class EventRow(_Row):
    """An incident as it is exported."""

    id: Count = 0
    source: str
    risk_level: Literal["low", "medium", "high", "critical"]
    fingerprint: str
    text: str
    job_id: Count | None = None
    details: dict[str, Any] = {}
    occurrences: Annotated[Number, Field(ge=1)] = 1
    opened_at: AwareDatetime
    last_seen_at: AwareDatetime
    reviewed_at: AwareDatetime | None = None
    reviewed_by: str | None = None
    verdict: str | None = None
    summary: str | None = None


_ROWS: dict[str, type[_Row]] = {"jobs": JobRow, "events": EventRow}


@dataclass
class Found:
    """What the first pass has seen."""

    what: str = ""
    rows: int = 0
    oldest: datetime | None = None
    errors: list[str] = field(default_factory=list)


def check(path: Path, report: Report = lambda rows: None) -> Found:
    """Read the whole file. Raises Invalid with the first faults and their line numbers."""
    found = Found()
    with ExportReader(path) as source:
        found.what = source.what
        if found.what not in _ROWS:
            raise Invalid(
                "Only jobs and events can be imported: results are a batch's own.", param="file_id"
            )
        for line in source.lines():
            _check_line(found, line)
            if len(found.errors) >= _MOST_ERRORS:
                break
            found.rows += 1
            if found.rows % _ROWS_AT_ONCE == 0:
                report(found.rows)
        if not found.errors and source.told is not None and source.told != found.rows:
            found.errors.append(
                f"the file says that it has {source.told} rows; {found.rows} are there"
            )
    if found.errors:
        raise Invalid(
            "The file can't be imported: " + "; ".join(found.errors) + ".", param="file_id"
        )
    return found


def _check_line(found: Found, line: Line) -> None:
    try:
        row = _read_row(found.what, line)
    except ValueError as fault:
        found.errors.append(f"line {line.number}: {fault}")
        return
    moment = row.created_at if isinstance(row, JobRow) else None
    if moment is not None and (found.oldest is None or moment < found.oldest):
        found.oldest = moment


def _read_row(what: str, line: Line) -> _Row:
    """Raises ValueError with a sentence that names the column."""
    if line.values is None:
        raise ValueError(line.fault)
    try:
        row = _ROWS[what].model_validate(line.values)
    except ValidationError as fault:
        first: Any = fault.errors(include_url=False, include_input=False)[0]
        column = ".".join(str(part) for part in first["loc"]) or "row"
        raise ValueError(f"{column}: {first['msg'].removeprefix('Value error, ')}") from None
    if "\\u0000" in row.model_dump_json():
        raise ValueError("it has the character NUL, which no text has")
    return row


def write(
    session: Session, path: Path, what: str, report: Report = lambda rows: None
) -> tuple[int, int]:
    """Add the file's rows, a part of them in each transaction; how many were added, how many known.

    The file must have passed `check`, and been read as `what`.
    """
    added = known = 0
    with ExportReader(path) as source:
        rows = (_read_row(what, line) for line in source.lines())
        while part := list(islice(rows, _ROWS_AT_ONCE)):
            if what == "jobs":
                new = _add_jobs(session, [row for row in part if isinstance(row, JobRow)])
            else:
                new = _add_events(session, [row for row in part if isinstance(row, EventRow)])
            session.commit()
            added += new
            known += len(part) - new
            report(added + known)
    return added, known


def foreign_id(row: JobRow) -> int:
    """The id of an imported job whose own id is taken, or may be one day; always the same."""
    words = f"{row.id} {row.created_at.astimezone(UTC).isoformat()}".encode()
    return _FIRST_FOREIGN_ID + int.from_bytes(hashlib.sha256(words).digest()[:8]) % 2**52


def _add_jobs(session: Session, rows: list[JobRow]) -> int:
    others = {row.id: foreign_id(row) for row in rows}
    there = {
        (found.id, found.created_at)
        for found in session.execute(
            statement("imports", "known_jobs"), {"ids": [*others, *map(foreign_id, rows)]}
        )
    }
    taken = {job_id for job_id, _ in there}
    last_given = session.execute(statement("imports", "last_given_id")).scalar_one() or 0
    new = {}
    for row in rows:
        other = foreign_id(row)
        if (row.id, row.created_at) in there or other in taken:
            continue
        is_free = row.id <= last_given and row.id not in taken
        values = _history(row)
        if not is_free:
            values |= {"id": other, "retried_from": None}
        new[(values["id"], row.created_at)] = values
        taken.add(values["id"])
        there.add((row.id, row.created_at))
    if new:
        session.execute(statement("imports", "add_jobs"), {"rows": _dumped(list(new.values()))})
    return len(new)


def _history(row: JobRow) -> dict[str, Any]:
    """The job as something past: what had not ended when it was exported counts as cancelled."""
    values = row.model_dump()
    values["ended_at"] = row.ended_at or row.started_at or row.created_at
    if row.status not in JOB_FINAL:
        values["status"] = "cancelled"
        values["error_message"] = f"It was {row.status} when it was exported."
    return values


def _add_events(session: Session, rows: list[EventRow]) -> int:
    added = 0
    for row in rows:  # one after the other: two of a file may be the same thing
        parameters = {"row": _dumped(row.model_dump())}
        added += session.execute(statement("imports", "add_event"), parameters).scalar_one()
    return added


def _dumped(value: Any) -> str:
    return json_text.write(value).decode()


def old_enough(oldest: datetime | None) -> datetime | None:
    """From when on jobs get partitions of their own; what is older shares one."""
    if oldest is None:
        return None
    return max(oldest, datetime.now(UTC) - timedelta(days=731))
