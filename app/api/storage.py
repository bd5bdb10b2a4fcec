"""/api/storage: how the tables are, what is kept how long, what a clean-up would remove, and its runs."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from flask import Blueprint
from pydantic import Field

from app.api.openapi import Answer, Limit, Offset, Query, describe, read_query
from app.auth import needs
from app.core import retention_forecast, retention_runs, table_advice, table_health
from app.core.retention_forecast import Precision
from app.core.retention_rules import job_days
from app.core.stats import StatsCache
from app.core.table_health import Part, Transaction
from app.extensions import current_settings, db

blueprint = Blueprint("storage_api", __name__, url_prefix="/api/storage")

_forecast = StatsCache[list[retention_forecast.Forecast]](patience=20.0)


class TablePart(Answer):
    """A partition. Rows are the server's estimate."""

    name: str
    rows: int
    dead_rows: int
    total_bytes: int
    row_bytes: int
    index_bytes: int
    toast_bytes: int
    last_vacuum_at: datetime | None
    last_analyze_at: datetime | None


class StorageTable(TablePart):
    """A table with all its partitions; one without has none."""

    is_queue: bool = Field(description="Whether it is Procrastinate's.")
    partitions: list[TablePart]


class OpenTransaction(Answer):
    """The one that is open for the longest time."""

    whose: str
    which: str
    began_at: datetime
    seconds: float


class Matter(Answer):
    """What deserves attention, and what to do; `command` is SQL, or empty."""

    kind: Literal[
        "disk",
        "transaction",
        "age",
        "partition",
        "default",
        "dead",
        "statistics",
        "queue",
        "clean_up",
    ]
    title: str
    words: str
    command: str
    is_bad: bool


class Storage(Answer):
    """The database, the data folder's disk, and every table, the largest first."""

    database: str
    database_bytes: int
    transaction_age: int
    counted_since: datetime | None
    free_bytes: int
    disk_bytes: int
    oldest_transaction: OpenTransaction | None
    attention: list[Matter]
    tables: list[StorageTable]


class RetentionRule(Answer):
    """How long a table's rows are kept, and the last run of it."""

    table: str
    days: float
    started_at: datetime | None
    ended_at: datetime | None
    rows_removed: int | None
    partitions_dropped: int | None
    error: str | None


class RetentionRun(Answer):
    """One run. `rows` and `errors` are of the tables that had any."""

    id: str
    started_at: datetime
    ended_at: datetime | None
    seconds: float | None
    rows_removed: int
    rows: dict[str, int]
    partitions_dropped: int
    errors: dict[str, str]


class Retention(Answer):
    """What is kept how long, and a page of the runs, newest first."""

    hour: int = Field(description="Of the day, in UTC, at which the daily run begins.")
    job_days: dict[str, float] = Field(description="By how a job ended.")
    rules: list[RetentionRule]
    runs: list[RetentionRun]
    limit: int
    offset: int
    has_more: bool


class RetentionQuery(Query):
    """GET /api/storage/retention."""

    limit: Limit(10, 100)  # type: ignore[valid-type]
    offset: Offset = 0


class TypeCount(Answer):
    """Jobs of one type."""

    job_type: str
    rows: int


class ForecastLine(Answer):
    """What would go of one table, and of jobs of one status. `rows` is null where counting took too long."""

    table: str
    status: str | None
    days: float
    before: datetime
    rows: int | None
    precision: Precision
    partitions: int
    types: list[TypeCount]


class RetentionForecast(Answer):
    """What a clean-up would remove now."""

    lines: list[ForecastLine]


@blueprint.get("")
@needs("operate")
@describe(answer=Storage)
def show() -> Storage:
    """How the tables are, from the server's statistics, and what of it deserves attention."""
    session, settings = db.session(), current_settings()
    health = table_health.look(session, settings)
    runs, _ = retention_runs.runs(session, limit=1)
    matters = table_advice.find(health, settings, runs[0] if runs else None)
    return Storage(
        database=health.database,
        database_bytes=health.database_bytes,
        transaction_age=health.transaction_age,
        counted_since=health.counted_since,
        free_bytes=health.free_bytes,
        disk_bytes=health.disk_bytes,
        oldest_transaction=_transaction(health.oldest),
        attention=[Matter.model_validate(vars(each)) for each in matters],
        tables=[
            StorageTable(
                **_part(table).model_dump(),
                is_queue=table.is_queue,
                partitions=[_part(part) for part in table.parts] if table.is_parted else [],
            )
            for table in health.tables
        ],
    )


@blueprint.get("/retention")
@needs("operate")
@describe(query=RetentionQuery, answer=Retention)
def show_retention() -> Retention:
    """What is kept how long, and what the runs of the clean-up removed."""
    asked = read_query(RetentionQuery)
    session, settings = db.session(), current_settings()
    runs, has_more = retention_runs.runs(session, limit=asked.limit, offset=asked.offset)
    return Retention(
        hour=settings.retention_hour,
        job_days=job_days(settings),
        rules=[RetentionRule(**rule) for rule in retention_runs.last_runs(session, settings)],
        runs=[
            RetentionRun(
                **{**vars(run), "id": str(run.id)},
                seconds=run.seconds,
                rows_removed=run.rows_removed,
            )
            for run in runs
        ],
        limit=asked.limit,
        offset=asked.offset,
        has_more=has_more,
    )


@blueprint.get("/retention/forecast")
@needs("operate")
@describe(answer=RetentionForecast)
def show_forecast() -> RetentionForecast:
    """What a clean-up would remove now: a dry run that reads no table as a whole."""
    session, settings = db.session(), current_settings()
    found = _forecast.get(session.get_bind(), lambda: retention_forecast.look(session, settings))
    return RetentionForecast(
        lines=[
            ForecastLine(
                **{
                    **vars(each),
                    "types": [TypeCount(job_type=task, rows=rows) for task, rows in each.types],
                }
            )
            for each in found
        ]
    )


def _transaction(oldest: Transaction | None) -> OpenTransaction | None:
    if oldest is None:
        return None
    return OpenTransaction(
        whose=oldest.whose, which=oldest.which, began_at=oldest.began_at, seconds=oldest.seconds
    )


def _part(part: Part) -> TablePart:
    return TablePart(
        name=part.name,
        rows=part.rows,
        dead_rows=part.dead_rows,
        total_bytes=part.total_bytes,
        row_bytes=part.row_bytes,
        index_bytes=part.index_bytes,
        toast_bytes=part.toast_bytes,
        last_vacuum_at=part.vacuumed_at,
        last_analyze_at=part.analyzed_at,
    )
