"""Failed jobs are read by when they ended: a window of few costs as little as it shows."""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.execute("CREATE INDEX job_failed_ended_idx ON job (ended_at) WHERE status = 'failed'")


def downgrade() -> None:
    raise RuntimeError("Stoker's schema goes forward only; to go back, restore a backup.")
