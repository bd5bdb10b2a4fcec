"""What may be done to a job: when it was asked to stop, how, and which job retries which."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute(
        "ALTER TABLE job ADD COLUMN abort_requested_at timestamptz,"
        " ADD COLUMN cancel_acknowledged_at timestamptz"
    )
    op.execute(
        "CREATE INDEX job_retried_from_idx ON job (retried_from, created_at)"
        " WHERE retried_from IS NOT NULL"
    )


def downgrade() -> None:
    raise RuntimeError("Stoker's schema goes forward only; to go back, restore a backup.")
