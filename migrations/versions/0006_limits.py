"""Paused queues."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE queue_pause (
            queue TEXT NOT NULL,
            paused_at timestamptz DEFAULT clock_timestamp() NOT NULL,
            paused_by TEXT NOT NULL,
            reason TEXT NOT NULL,
            CONSTRAINT queue_pause_pkey PRIMARY KEY (queue)
        )
        """
    )


def downgrade() -> None:
    raise RuntimeError("Stoker's schema goes forward only; to go back, restore a backup.")
