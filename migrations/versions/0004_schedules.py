"""Schedules, and each time that one fired or did not."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "schedule",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column(
            "arguments",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column("queue", sa.Text(), nullable=True),
        sa.Column("priority", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("trigger", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("missed_policy", sa.Text(), nullable=False),
        sa.Column("missed_limit", sa.Integer(), nullable=False),
        sa.Column("overlap_policy", sa.Text(), nullable=False),
        sa.Column("jitter_seconds", sa.Float(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_planned_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("next_due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paused_by", sa.Text(), nullable=True),
        sa.Column("pause_reason", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "missed_policy IN ('skip', 'one', 'all')", name=op.f("schedule_missed_policy_check")
        ),
        sa.CheckConstraint(
            "overlap_policy IN ('allow', 'skip', 'queue')",
            name=op.f("schedule_overlap_policy_check"),
        ),
        sa.CheckConstraint(
            "(next_planned_at IS NULL) = (next_due_at IS NULL)", name=op.f("schedule_next_check")
        ),
        sa.CheckConstraint(
            "(paused_at IS NULL) = (pause_reason IS NULL)", name=op.f("schedule_paused_check")
        ),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["user_account.id"], name=op.f("schedule_owner_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("schedule_pkey")),
    )
    op.create_index("schedule_owner_name_key", "schedule", ["owner_id", "name"], unique=True)
    op.create_index(
        "schedule_due_idx",
        "schedule",
        ["next_due_at"],
        postgresql_where=sa.text("next_due_at IS NOT NULL AND paused_at IS NULL"),
    )
    op.create_table(
        "schedule_firing",
        sa.Column("schedule_id", sa.BigInteger(), nullable=False),
        sa.Column("planned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "decided_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("job_id", sa.BigInteger(), nullable=True),
        sa.Column("planned_runs", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "job_id IS NOT NULL OR reason IS NOT NULL", name=op.f("schedule_firing_told_check")
        ),
        sa.ForeignKeyConstraint(
            ["schedule_id"],
            ["schedule.id"],
            name=op.f("schedule_firing_schedule_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("schedule_id", "planned_at", name=op.f("schedule_firing_pkey")),
    )
    op.create_index("schedule_firing_decided_idx", "schedule_firing", ["decided_at"])


def downgrade() -> None:
    raise RuntimeError("Stoker's schema goes forward only; to go back, restore a backup.")
