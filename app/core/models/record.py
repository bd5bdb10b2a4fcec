"""What is kept about the record itself: rollups, incidents, and the runs that thin it out."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    ColumnElement,
    Identity,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Text,
    literal_column,
)
from sqlalchemy import (
    text as literal,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core.models.base import Base, CreatedAt

DIMENSIONS = ("task", "queue", "model", "status")
SPANS = ("hour", "day")
RISK_LEVELS = ("low", "medium", "high", "critical")


class Rollup(Base):
    """The jobs that ended in one hour or day (UTC), by one dimension's name and by status.

    `jobs` counts all, `runs` those that were started; run durations are of these. Histograms count
    durations in milliseconds; what bucket a duration falls in is app.core.rollups' business.
    """

    __tablename__ = "rollup"
    __table_args__ = (
        PrimaryKeyConstraint("span", "dimension", "begins_at", "name", "status"),
        CheckConstraint(f"span IN {SPANS}", name="span"),
        CheckConstraint(f"dimension IN {DIMENSIONS}", name="dimension"),
    )

    span: Mapped[str]
    dimension: Mapped[str]
    begins_at: Mapped[datetime]
    name: Mapped[str]
    status: Mapped[str]
    jobs: Mapped[int]
    runs: Mapped[int]
    run_ms: Mapped[int]
    min_run_ms: Mapped[int | None]
    max_run_ms: Mapped[int | None]
    last_started_at: Mapped[datetime | None]
    run_histogram: Mapped[list[int]] = mapped_column(ARRAY(Integer))
    waits: Mapped[int]
    wait_ms: Mapped[int]
    wait_histogram: Mapped[list[int]] = mapped_column(ARRAY(Integer))


class RollupSpan(Base):
    """An hour or day whose rollups are what the jobs said at `refreshed_at`."""

    __tablename__ = "rollup_span"
    __table_args__ = (PrimaryKeyConstraint("span", "begins_at"),)

    span: Mapped[str]
    begins_at: Mapped[datetime]
    refreshed_at: Mapped[CreatedAt]


class DirtyHour(Base):
    """An hour whose rollups are no longer what the jobs say.

    A job that had ended began anew or was removed. Each change has a row of its own, so that
    nobody waits for another's transaction.
    """

    __tablename__ = "dirty_hour"
    __table_args__ = (PrimaryKeyConstraint("hour", "id"),)

    hour: Mapped[datetime]
    id: Mapped[int] = mapped_column(BigInteger, Identity())


class EndedJobs(Base):
    """How many jobs of a task and queue ended so since they are counted, for Prometheus: it only grows.

    `runs` and `waits` count durations in the buckets of app.core.ended_jobs.
    """

    __tablename__ = "ended_jobs"

    task: Mapped[str] = mapped_column(primary_key=True)
    queue: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str] = mapped_column(primary_key=True)
    jobs: Mapped[int]
    runs: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    run_ms: Mapped[int]
    waits: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    wait_ms: Mapped[int]


class Incident(Base):
    """Something an operator should look at; the same thing again counts up while it is open."""

    __tablename__ = "incident"
    __table_args__ = (
        Index("incident_opened_idx", "opened_at", "id"),
        Index(
            "incident_open_key",
            "fingerprint",
            unique=True,
            postgresql_where=literal("reviewed_at IS NULL"),
        ),
        Index("incident_job_idx", "job_id"),
        Index(
            "incident_open_idx",
            "opened_at",
            "id",
            postgresql_where=literal("reviewed_at IS NULL"),
        ),
        Index("incident_level_idx", "risk_level", "opened_at", "id"),
        Index("incident_source_idx", "source", "opened_at", "id"),
        Index(
            "incident_verdict_idx",
            "verdict",
            "opened_at",
            "id",
            postgresql_where=literal("verdict IS NOT NULL"),
        ),
        CheckConstraint(f"risk_level IN {RISK_LEVELS}", name="risk_level"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    source: Mapped[str]
    risk_level: Mapped[str]
    fingerprint: Mapped[str]
    text: Mapped[str]
    job_id: Mapped[int | None]
    details: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=literal("'{}'"))
    occurrences: Mapped[int] = mapped_column(Integer, server_default=literal("1"))
    opened_at: Mapped[CreatedAt]
    last_seen_at: Mapped[CreatedAt]
    reviewed_at: Mapped[datetime | None]
    reviewed_by: Mapped[str | None]
    verdict: Mapped[str | None]
    summary: Mapped[str | None]


# What an incident says, in small letters, and what a model says of it.
INCIDENT_WORDS: ColumnElement[str] = literal_column(
    "lower(incident.text || ' ' || COALESCE(incident.summary, ''))", Text
)


class IncidentScan(Base):
    """Up to when one kind of look-out for incidents has seen everything."""

    __tablename__ = "incident_scan"

    name: Mapped[str] = mapped_column(primary_key=True)
    seen_until: Mapped[datetime | None]


class RetentionRun(Base):
    """What one run of the retention removed from one table.

    `run_id` is the id of the run's first row.
    """

    __tablename__ = "retention_run"
    __table_args__ = (
        Index("retention_run_table_idx", "table_name", "started_at"),
        Index("retention_run_number_idx", literal("COALESCE(run_id, id)")),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    run_id: Mapped[int | None]
    table_name: Mapped[str]
    started_at: Mapped[CreatedAt]
    ended_at: Mapped[datetime | None]
    before: Mapped[datetime]
    rows_removed: Mapped[int] = mapped_column(BigInteger, server_default=literal("0"))
    partitions_dropped: Mapped[int] = mapped_column(Integer, server_default=literal("0"))
    error: Mapped[str | None]


class Listener(Base):
    """A process that hears the change feed, until then: the triggers notify only while one does."""

    __tablename__ = "listener"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    until: Mapped[datetime]


class Adoption(Base):
    """One row in a database whose queue is another app's: how far its past has been taken over.

    Jobs up to `last_job_id` are older than the record; those above `next_job_id` are in it by now.
    `horizon` is the oldest transaction that may have changed one unseen. Finished jobs leave the
    queue only where `may_archive` says so.
    """

    __tablename__ = "adoption"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)

    id: Mapped[int] = mapped_column(
        SmallInteger, primary_key=True, autoincrement=False, server_default=literal("1")
    )
    adopted_at: Mapped[CreatedAt]
    may_archive: Mapped[bool] = mapped_column(server_default=literal("false"))
    horizon: Mapped[str | None]
    last_job_id: Mapped[int | None]
    next_job_id: Mapped[int | None]
    jobs: Mapped[int] = mapped_column(server_default=literal("0"))
    attempts: Mapped[int] = mapped_column(server_default=literal("0"))
    seconds: Mapped[float] = mapped_column(server_default=literal("0"))
    finished_at: Mapped[datetime | None]
