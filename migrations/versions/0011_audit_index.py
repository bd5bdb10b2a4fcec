"""The audit trail says from where, and is read by time, actor, action and object."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"

_PERSON = "split_part(actor, ' (key ', 1)"


def upgrade() -> None:
    op.execute("ALTER TABLE audit_entry ADD COLUMN address TEXT")
    op.execute("CREATE INDEX audit_entry_at_idx ON audit_entry (at, id)")
    op.execute(f"CREATE INDEX audit_entry_actor_idx ON audit_entry (({_PERSON}), at, id)")
    op.execute("CREATE INDEX audit_entry_action_idx ON audit_entry (action, at, id)")
    op.execute("CREATE INDEX audit_entry_object_idx ON audit_entry (object_id, at, id)")


def downgrade() -> None:
    raise RuntimeError("Stoker's schema goes forward only; to go back, restore a backup.")
