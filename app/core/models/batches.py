"""Batches, their requests and the requests' results."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ColumnElement,
    Computed,
    ForeignKey,
    Identity,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Text,
    literal_column,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.core.models.base import Base, CreatedAt

STATUSES = (
    "validating",
    "in_progress",
    "finalizing",
    "completed",
    "failed",
    "expired",
    "cancelling",
    "cancelled",
)
FINAL = ("completed", "failed", "expired", "cancelled")

# An interval's seconds, unlike a time's, are an immutable expression: they can be indexed.
_CREATED_SECONDS = (
    "(floor(EXTRACT(epoch FROM created_at"
    " - '1970-01-01 00:00:00+00'::timestamp with time zone))::bigint)"
)

# Whole milliseconds from the first request's start to the end; null until a batch that has run has
# ended. As Postgres writes it: an index on exactly these words serves the order by them.
_RUN_MS = (
    "(EXTRACT(epoch FROM COALESCE(completed_at, failed_at, expired_at, cancelled_at)"
    " - in_progress_at) * 1000::numeric)::bigint"
)
RUN_MS: ColumnElement[int] = literal_column(f"({_RUN_MS})", BigInteger)
_MILLIRATE = (
    f"CASE WHEN ({_RUN_MS}) IS NOT NULL"
    f" THEN (completed + failed) * 1000000 / GREATEST({_RUN_MS}, 1::bigint) ELSE NULL::bigint END"
)

# What a batch is called: its id, its file and its metadata, in small letters.
BATCH_WORDS: ColumnElement[str] = literal_column(
    "lower(batch.id || ' ' || COALESCE(batch.input_filename, '') || ' '"
    " || COALESCE(batch.metadata::text, ''))",
    Text,
)

_OPEN = "status IN ('validating', 'in_progress', 'finalizing', 'cancelling')"
# As text, since an index on exactly these words serves it, and parameters would hide them.
IS_OPEN = text(f"batch.{_OPEN}")


class Batch(Base):
    """One file of requests for one model.

    `in_progress` with `in_progress_at` null means: validated, waiting for its turn in the engine.
    `attempt_token` is the fence: whoever writes results must still hold it.
    """

    __tablename__ = "batch"
    __table_args__ = (
        Index("batch_owner_created_idx", "owner_id", "created_at", "number"),
        Index("batch_created_idx", "created_at", "number"),
        Index("batch_created_seconds_idx", text(_CREATED_SECONDS)),  # the view batch_jobs' order
        Index("batch_status_created_idx", "status", "created_at", "number"),
        Index("batch_model_created_idx", "model", "created_at", "number"),
        Index("batch_open_idx", "priority", "number", postgresql_where=text(_OPEN)),
        Index("batch_job_idx", "job_id"),
        Index(
            "batch_idempotency_key",
            "owner_id",
            "idempotency_key",
            unique=True,
            postgresql_where=text("idempotency_key IS NOT NULL"),
        ),
        Index("batch_fingerprint_idx", "fingerprint", "created_at"),
        Index("batch_id_prefix_idx", "id", postgresql_ops={"id": "text_pattern_ops"}),
        Index("batch_total_idx", "total", "number"),
        Index(
            "batch_run_idx",
            text(f"({_RUN_MS})"),
            "number",
            postgresql_where=text(f"{_RUN_MS} IS NOT NULL"),
        ),
        Index(
            "batch_rate_idx",
            "millirate",
            "number",
            postgresql_where=text("millirate IS NOT NULL"),
        ),
        Index(
            "batch_without_run_idx",
            "created_at",
            "number",
            postgresql_where=text(f"{_RUN_MS} IS NULL"),
        ),
        Index(
            "batch_metadata_idx",
            "metadata",
            postgresql_using="gin",
            postgresql_ops={"metadata": "jsonb_path_ops"},
        ),
        CheckConstraint(f"status IN {STATUSES}", name="status"),
        CheckConstraint("priority BETWEEN -1 AND 1", name="priority"),
        CheckConstraint("(status = 'completed') = (completed_at IS NOT NULL)", name="completed_at"),
        CheckConstraint("(status = 'failed') = (failed_at IS NOT NULL)", name="failed_at"),
        CheckConstraint("(status = 'expired') = (expired_at IS NOT NULL)", name="expired_at"),
        CheckConstraint("(status = 'cancelled') = (cancelled_at IS NOT NULL)", name="cancelled_at"),
        CheckConstraint("completed + failed <= total", name="counts"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(Integer, Identity(), unique=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("user_account.id"))
    # What was asked for
    input_file_id: Mapped[str]
    input_filename: Mapped[str | None]  # as it was called when the batch was made
    endpoint: Mapped[str]
    completion_window: Mapped[str]
    priority: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    custom_metadata: Mapped[dict[str, str] | None] = mapped_column(
        "metadata", JSONB(none_as_null=True)
    )
    webhook: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    output_expires_after_seconds: Mapped[int | None]
    retried_from: Mapped[str | None]
    idempotency_key: Mapped[str | None]
    fingerprint: Mapped[str]
    # Where it stands
    status: Mapped[str] = mapped_column(server_default=text("'validating'"))
    model: Mapped[str | None]
    job_id: Mapped[int | None]
    attempt_token: Mapped[UUID | None]
    errors: Mapped[list[dict[str, Any]] | None] = mapped_column(JSONB(none_as_null=True))
    output_file_id: Mapped[str | None]
    error_file_id: Mapped[str | None]
    # When
    created_at: Mapped[CreatedAt]
    expires_at: Mapped[datetime]
    validated_at: Mapped[datetime | None]
    in_progress_at: Mapped[datetime | None]
    first_result_at: Mapped[datetime | None]
    last_result_at: Mapped[datetime | None]
    finalizing_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]
    failed_at: Mapped[datetime | None]
    expired_at: Mapped[datetime | None]
    cancelling_at: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]
    # How much: requests and tokens
    total: Mapped[int] = mapped_column(server_default=text("0"))
    completed: Mapped[int] = mapped_column(server_default=text("0"))
    failed: Mapped[int] = mapped_column(server_default=text("0"))
    estimated_tokens: Mapped[int] = mapped_column(server_default=text("0"))
    input_tokens: Mapped[int] = mapped_column(server_default=text("0"))
    cached_tokens: Mapped[int] = mapped_column(server_default=text("0"))
    output_tokens: Mapped[int] = mapped_column(server_default=text("0"))
    reasoning_tokens: Mapped[int] = mapped_column(server_default=text("0"))
    # Thousandths of a request per second of an ended run. A column, since an index on the expression
    # would make every count of new results write all indexes anew.
    millirate: Mapped[int | None] = mapped_column(
        Computed(_MILLIRATE, persisted=True), deferred=True
    )
    # With what
    engine: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    model_load_seconds: Mapped[float | None]
    engine_deaths: Mapped[int] = mapped_column(server_default=text("0"))


class Request(Base):
    """One line of a batch's file: where its bytes lie and in which order it is best asked."""

    __tablename__ = "request"
    __table_args__ = (
        PrimaryKeyConstraint("batch_number", "line"),
        Index(
            "request_custom_id_idx",
            "batch_number",
            "custom_id",
            postgresql_ops={"custom_id": "text_pattern_ops"},
        ),
    )

    batch_number: Mapped[int] = mapped_column(Integer)
    line: Mapped[int] = mapped_column(Integer)
    custom_id: Mapped[str]
    position: Mapped[int]
    length: Mapped[int] = mapped_column(Integer)
    max_tokens: Mapped[int] = mapped_column(Integer)
    prefix_key: Mapped[UUID]


class Suspect(Base):
    """A request that was in the engine when it died, or its worker; after two deaths it is asked alone.

    `sent_by` is the attempt that has it in the engine, where that is noted beforehand.
    """

    __tablename__ = "suspect"
    __table_args__ = (PrimaryKeyConstraint("batch_number", "line"),)

    batch_number: Mapped[int] = mapped_column(Integer)
    line: Mapped[int] = mapped_column(Integer)
    deaths: Mapped[int] = mapped_column(SmallInteger)
    sent_by: Mapped[UUID | None]


class Result(Base):
    """A request's one answer; the first that is written stays.

    `body` is the engine's answer as it came (JSON text); `error` is set instead when there was no
    HTTP answer at all.
    """

    __tablename__ = "result"
    __table_args__ = (
        PrimaryKeyConstraint("batch_number", "line"),
        Index(
            "result_failed_idx",
            "batch_number",
            "line",
            postgresql_where=text("NOT is_success"),
        ),
    )

    batch_number: Mapped[int] = mapped_column(Integer)
    line: Mapped[int] = mapped_column(Integer)
    id: Mapped[str]
    is_success: Mapped[bool]
    status_code: Mapped[int | None] = mapped_column(SmallInteger)
    body: Mapped[str | None]
    error: Mapped[str | None]
    tries: Mapped[int] = mapped_column(SmallInteger, server_default=text("1"))
    last_tried_at: Mapped[datetime]
    created_at: Mapped[CreatedAt]
