"""Stoker's first tables, and the view `batch_jobs` for earlier systems' queries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

# Job history as earlier systems' queries know it: its words for a status, times in Unix seconds.
BATCH_JOBS = """
CREATE VIEW batch_jobs AS
SELECT
    history.batch_id,
    history.status,
    history.model,
    history.created_at,
    history.completed_at,
    history.failed_at,
    history.cancelled_at,
    history.total_requests,
    history.completed_requests,
    history.failed_requests,
    history.duration,
    round(history.requests_per_second::numeric, 3)::float8 AS throughput,
    history.priority,
    history.webhook_url,
    history.has_errors,
    round(history.requests_per_second::numeric, 3)::float8 AS request_throughput,
    history.total_tokens,
    round(history.tokens_per_second::numeric, 3)::float8 AS token_throughput
FROM (
    SELECT
        id AS batch_id,
        CASE
            WHEN status = 'validating' THEN 'queued'
            WHEN status = 'in_progress' AND in_progress_at IS NULL THEN 'queued'
            WHEN status IN ('finalizing', 'cancelling') THEN 'in_progress'
            WHEN status = 'expired' THEN 'failed'
            ELSE status
        END AS status,
        model,
        floor(extract(epoch FROM created_at - '1970-01-01 00:00:00+00'::timestamptz))::bigint
            AS created_at,
        floor(extract(epoch FROM completed_at))::bigint AS completed_at,
        floor(extract(epoch FROM coalesce(failed_at, expired_at)))::bigint AS failed_at,
        floor(extract(epoch FROM cancelled_at))::bigint AS cancelled_at,
        total AS total_requests,
        completed AS completed_requests,
        failed AS failed_requests,
        run.seconds AS duration,
        priority,
        webhook IS NOT NULL AS webhook_url,
        coalesce(errors <> '[]', false) OR failed > 0 AS has_errors,
        (completed + failed) / nullif(run.seconds, 0) AS requests_per_second,
        input_tokens + output_tokens AS total_tokens,
        (input_tokens + output_tokens) / nullif(run.seconds, 0) AS tokens_per_second
    FROM batch
    LEFT JOIN LATERAL (
        SELECT round(greatest(extract(epoch FROM ended_at - in_progress_at), 0), 3)::float8 AS seconds
        FROM (
            SELECT coalesce(completed_at, failed_at, expired_at, cancelled_at) AS ended_at
        ) AS final
        WHERE in_progress_at IS NOT NULL AND ended_at IS NOT NULL
    ) AS run ON true
) AS history
"""


def upgrade() -> None:
    _create_users()
    _create_files()
    _create_batches()
    _create_workers()
    _create_webhooks()
    op.execute(BATCH_JOBS)


def downgrade() -> None:
    raise RuntimeError("Stoker's schema goes forward only; to go back, restore a backup.")


def _create_users() -> None:
    op.create_table(
        "user_account",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("user_account_pkey")),
        sa.UniqueConstraint("name", name=op.f("user_account_name_key")),
    )
    op.create_table(
        "api_key",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user_account.id"], name=op.f("api_key_user_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("api_key_pkey")),
        sa.UniqueConstraint("digest", name=op.f("api_key_digest_key")),
    )
    op.create_index(op.f("api_key_user_id_idx"), "api_key", ["user_id"], unique=False)
    op.create_table(
        "browser_session",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column(
            "last_seen_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user_account.id"], name=op.f("browser_session_user_id_fkey")
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("browser_session_pkey")),
    )
    op.create_index(
        op.f("browser_session_expires_at_idx"), "browser_session", ["expires_at"], unique=False
    )
    op.create_index(
        op.f("browser_session_user_id_idx"), "browser_session", ["user_id"], unique=False
    )
    op.create_table(
        "sign_in_link",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user_account.id"], name=op.f("sign_in_link_user_id_fkey")
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("sign_in_link_pkey")),
    )
    op.create_index(
        op.f("sign_in_link_expires_at_idx"), "sign_in_link", ["expires_at"], unique=False
    )
    op.create_index(op.f("sign_in_link_user_id_idx"), "sign_in_link", ["user_id"], unique=False)
    op.create_table(
        "audit_entry",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column(
            "at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text(), nullable=False),
        sa.Column("details", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("audit_entry_pkey")),
    )


def _create_files() -> None:
    op.create_table(
        "file",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("bytes >= 0", name=op.f("file_bytes_check")),
        sa.ForeignKeyConstraint(["owner_id"], ["user_account.id"], name=op.f("file_owner_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("file_pkey")),
    )
    op.create_index("file_created_idx", "file", ["created_at", "id"], unique=False)
    op.create_index("file_expires_at_idx", "file", ["expires_at"], unique=False)
    op.create_index(
        "file_owner_created_idx", "file", ["owner_id", "created_at", "id"], unique=False
    )


def _create_batches() -> None:
    op.create_table(
        "batch",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("input_file_id", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("completion_window", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "metadata", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column(
            "webhook", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("output_expires_after_seconds", sa.BigInteger(), nullable=True),
        sa.Column("retried_from", sa.Text(), nullable=True),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'validating'"), nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("job_id", sa.BigInteger(), nullable=True),
        sa.Column("attempt_token", sa.Uuid(), nullable=True),
        sa.Column(
            "errors", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("output_file_id", sa.Text(), nullable=True),
        sa.Column("error_file_id", sa.Text(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("validated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("in_progress_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("first_result_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_result_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finalizing_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("completed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expired_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancelling_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cancelled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("total", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("completed", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("failed", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("estimated_tokens", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("input_tokens", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("cached_tokens", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("output_tokens", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("reasoning_tokens", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "engine", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("model_load_seconds", sa.Double(), nullable=True),
        sa.Column("engine_deaths", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint(
            "(status = 'cancelled') = (cancelled_at IS NOT NULL)",
            name=op.f("batch_cancelled_at_check"),
        ),
        sa.CheckConstraint(
            "(status = 'completed') = (completed_at IS NOT NULL)",
            name=op.f("batch_completed_at_check"),
        ),
        sa.CheckConstraint(
            "(status = 'expired') = (expired_at IS NOT NULL)", name=op.f("batch_expired_at_check")
        ),
        sa.CheckConstraint(
            "(status = 'failed') = (failed_at IS NOT NULL)", name=op.f("batch_failed_at_check")
        ),
        sa.CheckConstraint(
            "status IN ('validating', 'in_progress', 'finalizing', 'completed', 'failed', 'expired', 'cancelling', 'cancelled')",
            name=op.f("batch_status_check"),
        ),
        sa.CheckConstraint("completed + failed <= total", name=op.f("batch_counts_check")),
        sa.CheckConstraint("priority BETWEEN -1 AND 1", name=op.f("batch_priority_check")),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["user_account.id"], name=op.f("batch_owner_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("batch_pkey")),
        sa.UniqueConstraint("number", name=op.f("batch_number_key")),
    )
    op.create_index("batch_created_idx", "batch", ["created_at", "number"], unique=False)
    op.create_index(
        "batch_created_seconds_idx",
        "batch",
        [
            sa.literal_column(
                "(floor(EXTRACT(epoch FROM created_at - '1970-01-01 00:00:00+00'::timestamp with time zone))::bigint)"
            )
        ],
        unique=False,
    )
    op.create_index("batch_fingerprint_idx", "batch", ["fingerprint", "created_at"], unique=False)
    op.create_index(
        "batch_idempotency_key",
        "batch",
        ["owner_id", "idempotency_key"],
        unique=True,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.create_index("batch_job_idx", "batch", ["job_id"], unique=False)
    op.create_index(
        "batch_model_created_idx", "batch", ["model", "created_at", "number"], unique=False
    )
    op.create_index(
        "batch_open_idx",
        "batch",
        ["priority", "number"],
        unique=False,
        postgresql_where=sa.text(
            "status IN ('validating', 'in_progress', 'finalizing', 'cancelling')"
        ),
    )
    op.create_index(
        "batch_owner_created_idx", "batch", ["owner_id", "created_at", "number"], unique=False
    )
    op.create_index(
        "batch_status_created_idx", "batch", ["status", "created_at", "number"], unique=False
    )
    op.create_table(
        "request",
        sa.Column("batch_number", sa.Integer(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("custom_id", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("length", sa.Integer(), nullable=False),
        sa.Column("max_tokens", sa.Integer(), nullable=False),
        sa.Column("prefix_key", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("batch_number", "line", name=op.f("request_pkey")),
    )
    op.create_table(
        "suspect",
        sa.Column("batch_number", sa.Integer(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("deaths", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("batch_number", "line", name=op.f("suspect_pkey")),
    )
    op.create_table(
        "result",
        sa.Column("batch_number", sa.Integer(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("is_success", sa.Boolean(), nullable=False),
        sa.Column("status_code", sa.SmallInteger(), nullable=True),
        sa.Column("body", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("tries", sa.SmallInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("last_tried_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("batch_number", "line", name=op.f("result_pkey")),
    )
    op.create_index(
        "result_failed_idx",
        "result",
        ["batch_number", "line"],
        unique=False,
        postgresql_where=sa.text("NOT is_success"),
    )


def _create_workers() -> None:
    op.create_table(
        "worker",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column(
            "started_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column(
            "last_heartbeat_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("current_model", sa.Text(), nullable=True),
        sa.Column("engine_status", sa.Text(), nullable=True),
        sa.Column("engine_error", sa.Text(), nullable=True),
        sa.Column(
            "running_job_ids",
            sa.ARRAY(sa.BigInteger()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column(
            "queue_worker_ids",
            sa.ARRAY(sa.BigInteger()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column("models", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column(
            "metrics",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("worker_pkey")),
    )
    op.create_index("worker_heartbeat_idx", "worker", ["last_heartbeat_at"], unique=False)


def _create_webhooks() -> None:
    op.create_table(
        "webhook_delivery",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'pending'"), nullable=False),
        sa.Column("tries", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "next_try_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_tried_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_status_code", sa.SmallInteger(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("delivered_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(status = 'delivered') = (delivered_at IS NOT NULL)",
            name=op.f("webhook_delivery_delivered_at_check"),
        ),
        sa.CheckConstraint(
            "status IN ('pending', 'delivered', 'dead')",
            name=op.f("webhook_delivery_status_check"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("webhook_delivery_pkey")),
    )
    op.create_index(
        "webhook_delivery_batch_idx",
        "webhook_delivery",
        ["batch_id", "created_at"],
        unique=False,
    )
    op.create_index(
        "webhook_delivery_due_idx",
        "webhook_delivery",
        ["next_try_at"],
        unique=False,
        postgresql_where=sa.text("status = 'pending'"),
    )
