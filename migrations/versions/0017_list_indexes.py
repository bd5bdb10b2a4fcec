"""Lists that pages show have an index for each of their filters: a long history costs them no more than a short one."""

from __future__ import annotations

from alembic import op

revision = "0017"
down_revision = "0016"

INDEXES = """
CREATE INDEX incident_level_idx ON incident (risk_level, opened_at, id);
CREATE INDEX incident_source_idx ON incident (source, opened_at, id);
CREATE INDEX incident_verdict_idx ON incident (verdict, opened_at, id) WHERE verdict IS NOT NULL;
CREATE INDEX incident_open_idx ON incident (opened_at, id) WHERE reviewed_at IS NULL;
CREATE INDEX alert_rule_opened_idx ON alert (rule_id, opened_at, id);
CREATE INDEX webhook_delivery_dead_owner_idx ON webhook_delivery (owner_id, died_at, id) WHERE died_at IS NOT NULL;
CREATE INDEX file_purpose_created_idx ON file (purpose, created_at, id);
CREATE INDEX retention_run_number_idx ON retention_run ((COALESCE(run_id, id)))
"""


def upgrade() -> None:
    for statement in INDEXES.strip().split(";\n"):
        op.execute(statement)


def downgrade() -> None:
    raise RuntimeError("Stoker's schema goes forward only; to go back, restore a backup.")
