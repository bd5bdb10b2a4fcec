"""Milestones: what an attempt did and when, on its own row."""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.execute("ALTER TABLE attempt ADD COLUMN milestones JSONB")


def downgrade() -> None:
    raise RuntimeError("Stoker's schema goes forward only; to go back, restore a backup.")
