"""Who is in the engine is noted before it is sent, once a worker has died of a batch."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.execute("ALTER TABLE suspect ADD COLUMN sent_by UUID")


def downgrade() -> None:
    raise RuntimeError("Stoker's schema goes forward only; to go back, restore a backup.")
