"""Faults: who is in the engine when its worker dies, and alerts of transactions that stay open."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.execute("ALTER TABLE suspect ADD COLUMN sent_by UUID")
    op.execute("ALTER TABLE alert_rule DROP CONSTRAINT alert_rule_kind_check")
    op.execute(
        "ALTER TABLE alert_rule ADD CONSTRAINT alert_rule_kind_check CHECK (kind IN"
        " ('job_failure', 'failure_rate', 'queue_age', 'no_worker', 'slow_job', 'disk_low',"
        " 'long_transaction'))"
    )


def downgrade() -> None:
    raise RuntimeError("Stoker's schema goes forward only; to go back, restore a backup.")
