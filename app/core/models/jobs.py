"""The record: what Procrastinate's tables forget about jobs, their attempts and what they logged.

Triggers (sql/record.sql) fill these in the transaction that changes Procrastinate's row; the worker
middleware adds what only the worker knows. Tables are partitioned by month (of the job's creation)
or by day, so that retention is dropping a partition.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Identity,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core.models.base import Base, CreatedAt

JOB_STATUSES = ("pending", "retrying", "running", "completed", "failed", "cancelled")
JOB_FINAL = ("completed", "failed", "cancelled")
# What names a kind of failure (app.core.failures): the task, the error's type and the shape of its first line.
_FINGERPRINT = (
    "md5((((task || chr(31)) || COALESCE(error_type, ''::text)) || chr(31)) || \"left\"(regexp_replace("
    "regexp_replace(split_part(ltrim(COALESCE(error_message, ''::text)), chr(10), 1),"
    " '[0-9a-fA-F]{8,}'::text, '#'::text, 'g'::text), '[0-9]+'::text, '#'::text, 'g'::text), 200))"
)


class Job(Base):
    """One launch of a task, from its defer to its end; its id is Procrastinate's.

    What is `pending` and due later is shown as `scheduled` (app.core.status). `run_ms` sums its
    attempts, `wait_ms` is the time from when it was due to its first start.
    """

    __tablename__ = "job"
    __table_args__ = (
        # The order of every list, newest first.
        PrimaryKeyConstraint("created_at", "id"),
        Index("job_id_idx", "id"),
        # Walking the newest finds what is common; what is rare has an index of its own.
        Index(
            "job_status_idx",
            "status",
            "created_at",
            "id",
            postgresql_where=text("status <> 'completed'"),
            postgresql_include=["task", "queue"],  # to count without reading the rows
        ),
        Index("job_task_idx", "task", "created_at", "id"),
        Index(
            "job_task_failed_idx",
            "task",
            "created_at",
            "id",
            postgresql_where=text("status = 'failed'"),
        ),
        Index("job_queue_idx", "queue", "created_at", "id"),
        Index(
            "job_owner_idx",
            "owner_name",
            "created_at",
            "id",
            postgresql_where=text("owner_name IS NOT NULL"),
            postgresql_include=["status"],
        ),
        Index(
            "job_model_idx",
            "model",
            "created_at",
            "id",
            postgresql_where=text("model IS NOT NULL"),
        ),
        Index(
            "job_worker_idx",
            "worker_name",
            "created_at",
            "id",
            postgresql_where=text("worker_name IS NOT NULL"),
        ),
        Index(
            "job_started_idx", "started_at", "id", postgresql_where=text("started_at IS NOT NULL")
        ),
        Index("job_unstarted_idx", "created_at", "id", postgresql_where=text("started_at IS NULL")),
        Index("job_failed_ended_idx", "ended_at", postgresql_where=text("status = 'failed'")),
        Index("job_ended_idx", "ended_at", "id", postgresql_where=text("ended_at IS NOT NULL")),
        # By status, as nearly all that have ended have the same progress.
        Index("job_progress_idx", "status", "progress", "created_at", "id"),
        Index(
            "job_scheduled_idx",
            "scheduled_at",
            postgresql_where=text("scheduled_at IS NOT NULL AND status IN ('pending', 'retrying')"),
        ),
        Index(
            "job_slow_idx",
            "run_ms",
            "created_at",  # and the id: to find the newest without reading the rows
            "id",
            postgresql_where=text("run_ms > 60000 AND ended_at IS NOT NULL"),
        ),
        # Few: of the failed ones, which have their own indexes, there are more.
        Index(
            "job_error_idx",
            "created_at",
            "id",
            postgresql_where=text(
                "error_message IS NOT NULL AND status <> 'completed' AND status <> 'failed'"
            ),
        ),
        Index(
            "job_retried_from_idx",
            "retried_from",
            "created_at",
            postgresql_where=text("retried_from IS NOT NULL"),
        ),
        Index(
            "job_lock_idx", "lock", "created_at", "id", postgresql_where=text("length(lock) <= 500")
        ),
        Index(
            "job_queueing_lock_idx",
            "queueing_lock",
            "created_at",
            "id",
            postgresql_where=text("length(queueing_lock) <= 500"),
        ),
        Index(
            "job_fingerprint_idx",
            text(_FINGERPRINT),
            "created_at",
            "id",
            postgresql_where=text("status = 'failed'"),
        ),
        CheckConstraint(f"status IN {JOB_STATUSES}", name="status"),
        {"postgresql_partition_by": "RANGE (created_at)"},
    )

    id: Mapped[int]
    created_at: Mapped[CreatedAt]
    created_by: Mapped[str | None]
    # What was asked for
    task: Mapped[str]
    queue: Mapped[str]
    priority: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    lock: Mapped[str | None]
    queueing_lock: Mapped[str | None]
    arguments: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    scheduled_at: Mapped[datetime | None]
    owner_name: Mapped[str | None]
    model: Mapped[str | None]
    retried_from: Mapped[int | None]
    max_attempts: Mapped[int | None] = mapped_column(Integer)
    timeout_seconds: Mapped[float | None]
    # Whether others depend on it, so that its end concerns them
    is_needed: Mapped[bool] = mapped_column(server_default=text("false"))
    # Where it stands
    status: Mapped[str] = mapped_column(server_default=text("'pending'"))
    attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    # Somebody asked it to stop (by force from the second on), and its worker has heard of it.
    cancel_requested_at: Mapped[datetime | None]
    abort_requested_at: Mapped[datetime | None]
    cancel_acknowledged_at: Mapped[datetime | None]
    progress: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    items_done: Mapped[int | None]
    items_total: Mapped[int | None]
    message: Mapped[str | None]
    worker_name: Mapped[str | None]
    # When
    started_at: Mapped[datetime | None]
    attempt_started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    run_ms: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    wait_ms: Mapped[int | None]
    # What came of it; a result over 1 MB lies in a file of `result_bytes` bytes
    result: Mapped[Any | None] = mapped_column(JSONB(none_as_null=True))
    result_bytes: Mapped[int | None]
    error_type: Mapped[str | None]
    error_message: Mapped[str | None]


class JobTransition(Base):
    """A job's status changed, or somebody asked for that; its creation has no row of its own."""

    __tablename__ = "job_transition"
    __table_args__ = (
        PrimaryKeyConstraint("job_id", "id", "job_created_at"),
        {"postgresql_partition_by": "RANGE (job_created_at)"},
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity())
    job_id: Mapped[int]
    job_created_at: Mapped[datetime]
    at: Mapped[CreatedAt]
    from_status: Mapped[str]
    to_status: Mapped[str]
    triggered_by: Mapped[str | None]
    details: Mapped[str | None]


class Attempt(Base):
    """One try of a job. `token` fences what it writes; `outcome` is null while it runs.

    `number` is Procrastinate's count. Outcomes: completed, failed, cancelled, lost (its worker died
    or was taken for dead), moved (goes on in another queue), deleted (its row went away while it
    ran, so how it ended is not known).
    """

    __tablename__ = "attempt"
    __table_args__ = (
        # Few indexes: each is written at the fetch and at the end of every job.
        PrimaryKeyConstraint("job_id", "number", "job_created_at"),
        Index("attempt_open_idx", "queue_worker_id", postgresql_where=text("outcome IS NULL")),
        # Who ran in a window: what ended after its begin, and what is open.
        Index("attempt_ended_idx", "ended_at", postgresql_where=text("ended_at IS NOT NULL")),
        CheckConstraint("(outcome IS NULL) = (ended_at IS NULL)", name="ended"),
        {"postgresql_partition_by": "RANGE (job_created_at)"},
    )

    job_id: Mapped[int]
    job_created_at: Mapped[datetime]
    number: Mapped[int] = mapped_column(Integer)
    token: Mapped[UUID] = mapped_column(server_default=text("gen_random_uuid()"))
    task: Mapped[str]
    queue: Mapped[str]
    queue_worker_id: Mapped[int | None]
    worker_id: Mapped[UUID | None]
    worker_name: Mapped[str | None]
    host: Mapped[str | None]
    pid: Mapped[int | None]
    started_at: Mapped[CreatedAt]
    ended_at: Mapped[datetime | None]
    outcome: Mapped[str | None]
    error_type: Mapped[str | None]
    error_message: Mapped[str | None]
    traceback: Mapped[str | None]
    result: Mapped[Any | None] = mapped_column(JSONB(none_as_null=True))
    cpu_seconds: Mapped[float | None]
    peak_memory_bytes: Mapped[int | None]
    gpu_seconds: Mapped[float | None]
    # What it did and when, at most a hundred: app.core.milestones reads them.
    milestones: Mapped[Any | None] = mapped_column(JSONB(none_as_null=True))


class QueueWorker(Base):
    """Who a worker of Procrastinate's is; `id` is that of its row there, which goes when it ends.

    `max_attempts` is {task: most attempts}, of the tasks that have a limit.
    """

    __tablename__ = "queue_worker"

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    worker_id: Mapped[UUID | None]
    name: Mapped[str]
    host: Mapped[str | None]
    pid: Mapped[int | None]
    max_attempts: Mapped[dict[str, int]] = mapped_column(JSONB, server_default=text("'{}'"))
    registered_at: Mapped[CreatedAt]


class JobSearch(Base):
    """A job's words, lower case: id, task, user, argument values, message and error."""

    __tablename__ = "job_search"
    __table_args__ = (
        PrimaryKeyConstraint("job_created_at", "job_id"),
        {"postgresql_partition_by": "RANGE (job_created_at)"},
    )

    job_id: Mapped[int]
    job_created_at: Mapped[datetime]
    words: Mapped[str]


class LogLine(Base):
    """What an attempt had to say."""

    __tablename__ = "log_line"
    __table_args__ = (
        PrimaryKeyConstraint("at", "id"),
        Index("log_line_id_idx", "id"),
        Index("log_line_job_idx", "job_id", "id"),
        Index(
            "log_line_batch_idx",
            "batch_number",
            "id",
            postgresql_where=text("batch_number IS NOT NULL"),
        ),
        {"postgresql_partition_by": "RANGE (at)"},
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity())
    at: Mapped[CreatedAt]
    job_id: Mapped[int]
    attempt_number: Mapped[int | None] = mapped_column(Integer)
    batch_number: Mapped[int | None]
    level: Mapped[str]
    logger: Mapped[str | None]
    message: Mapped[str]
    context: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))


class WaitingJob(Base):
    """A job that is not to run yet: it enters Procrastinate's tables when it is due.

    `needs` counts the jobs on which it depends and that have not completed yet; until it is 0, nothing
    is due.
    """

    __tablename__ = "waiting_job"
    __table_args__ = (
        Index("waiting_job_due_idx", "due_at", "id", postgresql_where=text("needs = 0")),
    )

    id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    due_at: Mapped[datetime]
    task: Mapped[str]
    queue: Mapped[str]
    priority: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    lock: Mapped[str | None]
    queueing_lock: Mapped[str | None]
    arguments: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    needs: Mapped[int] = mapped_column(Integer, server_default=text("0"))
