"""What the retention would remove now, without reading what it would remove: a dry run for a page.

Jobs are counted from rollups, log lines from the server's statistics, the rest up to a limit and within
a time. `flask retention run --dry-run` counts all of it, however long that takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

from sqlalchemy import ColumnElement, Integer, exists, func, literal, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.core import old_partitions, old_results, tallies
from app.core.models import Batch, File, LogLine, Request
from app.core.models.base import Base
from app.core.retention_rules import RULES, Rule, batch_is_over, file_is_over, job_days
from app.core.settings import Settings

# How exact a number is: "at_least" counted up to the limit, "unknown" took too long.
Precision = Literal["exact", "at_least", "estimate", "unknown"]

MOST_COUNTED = 10_000
_PART_SECONDS = 1.0
_ALL_SECONDS = 4.0
_MOST_TYPES = 50


@dataclass
class Forecast:
    """Of one table, and of jobs of one status. `types` are (task, jobs), the most first."""

    table: str
    status: str | None
    days: float
    before: datetime
    rows: int | None = None
    precision: Precision = "unknown"
    partitions: int = 0
    types: Sequence[tuple[str, int]] = field(default_factory=tuple)


def look(session: Session, settings: Settings) -> list[Forecast]:
    """Every table, in the order of the run."""
    now = datetime.now(UTC)
    deadline = time.monotonic() + _ALL_SECONDS
    found = []
    for rule in RULES.values():
        for each in _empty(rule, settings, now):
            _within(session, deadline, partial(_fill, session, settings, rule, each))
            found.append(each)
    return found


def _empty(rule: Rule, settings: Settings, now: datetime) -> list[Forecast]:
    days = job_days(settings) if rule.table == "job" else {"": rule.days(settings)}
    times = rule.times(settings, now)
    return [
        Forecast(rule.table, status or None, each, times[status]) for status, each in days.items()
    ]


def _within(session: Session, deadline: float, count: Callable[[], None]) -> None:
    """Count as long as there is time; what the server breaks off stays unknown."""
    seconds = min(_PART_SECONDS, deadline - time.monotonic())
    if seconds <= 0:
        return
    usual = session.scalar(text("SHOW statement_timeout"))
    limit = select(func.set_config("statement_timeout", f"{int(seconds * 1000) + 1}ms", True))
    try:
        with session.begin_nested():
            session.execute(limit)
            count()
            session.execute(select(func.set_config("statement_timeout", usual, True)))
    except DBAPIError as fault:
        if getattr(fault.orig, "sqlstate", None) != "57014":  # query_canceled
            raise


def _fill(session: Session, settings: Settings, rule: Rule, found: Forecast) -> None:
    match rule.table:
        case "job":
            _jobs(session, rule.times(settings, datetime.now(UTC)), found)
        case "job_result":
            found.rows, found.precision = old_results.count(session, settings), "exact"
        case "log_line":
            _log_lines(session, found)
        case "file":
            _count(session, found, [(File, file_is_over(datetime.now(UTC)))])
        case "result":
            _results(session, found)
        case _:
            _count(session, found, [(model, of(found.before)) for model, of in rule.parts])


def _jobs(session: Session, times: old_partitions.Times, found: Forecast) -> None:
    """From rollups, exact but for jobs that an open batch names: those stay."""
    assert found.status is not None
    counted = tallies.count(session, "task", until=found.before)
    types = {name: of[found.status].jobs for name, of in counted.items() if found.status in of}
    ordered = sorted(types.items(), key=lambda each: (-each[1], each[0]))
    found.types = ordered[:_MOST_TYPES]
    found.rows, found.precision = sum(types.values()), "exact"
    if found.status == next(iter(times)):  # a month goes with jobs of all statuses: said once
        parts = old_partitions.old(session, "job", times)
        found.partitions = sum(old_partitions.may_drop(session, part, times) for part in parts)


def _log_lines(session: Session, found: Forecast) -> None:
    """Whole days as the server estimates them, the day of the limit up to the most counted."""
    times = {"": found.before}
    rows, found.precision = 0, "exact"
    for part in old_partitions.old(session, "log_line", times):
        if old_partitions.may_drop(session, part, times):
            found.partitions += 1
            rows += old_partitions.estimate(session, part.name)
            found.precision = "estimate"
        else:
            is_past = (LogLine.at >= part.begin) & (LogLine.at < found.before)
            some = _capped(session, [(LogLine, is_past)])
            rows += min(some, MOST_COUNTED)
            if some > MOST_COUNTED:
                found.precision = "at_least"
    found.rows = rows


def _results(session: Session, found: Forecast) -> None:
    """As many requests and results as the batches say that still have some."""
    has_any = exists().where(Request.batch_number == Batch.number)
    some = (
        select((Batch.total + Batch.completed + Batch.failed).label("rows"))
        .where(batch_is_over(found.before), has_any)
        .limit(MOST_COUNTED + 1)
        .subquery()
    )
    batches, rows = session.execute(
        select(func.count(), func.coalesce(func.sum(some.c.rows), 0))
    ).one()
    found.rows = int(rows)
    found.precision = "at_least" if batches > MOST_COUNTED else "estimate" if batches else "exact"


def _count(
    session: Session, found: Forecast, parts: Sequence[tuple[type[Base], ColumnElement[bool]]]
) -> None:
    rows = _capped(session, parts)
    found.rows = min(rows, MOST_COUNTED)
    found.precision = "exact" if rows <= MOST_COUNTED else "at_least"


def _capped(session: Session, parts: Sequence[tuple[type[Base], ColumnElement[bool]]]) -> int:
    """How many there are, one more than the most counted at most of each."""
    total = 0
    for model, condition in parts:
        some: Any = (
            select(literal(1, Integer)).select_from(model).where(condition).limit(MOST_COUNTED + 1)
        )
        total += session.scalar(select(func.count()).select_from(some.subquery())) or 0
    return total
