"""What a bulk action came to, job by job."""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"

STATEMENTS = (
    """
    CREATE TABLE bulk_item (
        bulk_id BIGINT NOT NULL,
        job_id BIGINT NOT NULL,
        task TEXT NOT NULL,
        kind TEXT,
        reason TEXT,
        found_id BIGINT,
        found_created_at timestamptz,
        at timestamptz DEFAULT clock_timestamp() NOT NULL,
        CONSTRAINT bulk_item_pkey PRIMARY KEY (bulk_id, job_id),
        CONSTRAINT bulk_item_why_check CHECK ((kind IS NULL) = (reason IS NULL))
    )
    """,
    "CREATE INDEX bulk_item_kind_idx ON bulk_item (bulk_id, kind, job_id)",
    """
    CREATE INDEX bulk_item_found_idx ON bulk_item (bulk_id, found_created_at, found_id)
    WHERE found_id IS NOT NULL
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise RuntimeError("Stoker's schema goes forward only; to go back, restore a backup.")
