"""What deferring a job may say beside its task: on what it depends, how long it may run, and its key."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"

STATEMENTS = """
ALTER TABLE job ADD COLUMN timeout_seconds DOUBLE PRECISION;
ALTER TABLE job ADD COLUMN is_needed BOOLEAN DEFAULT false NOT NULL;
ALTER TABLE waiting_job ADD COLUMN needs INTEGER DEFAULT 0 NOT NULL;
DROP INDEX waiting_job_due_idx;
CREATE INDEX waiting_job_due_idx ON waiting_job (due_at, id) WHERE needs = 0;
CREATE TABLE job_dependency (
    job_id BIGINT NOT NULL,
    needs_id BIGINT NOT NULL,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    met_at timestamptz,
    CONSTRAINT job_dependency_pkey PRIMARY KEY (job_id, needs_id)
);
CREATE INDEX job_dependency_needs_idx ON job_dependency (needs_id);
CREATE TABLE idempotency_key (
    owner_id BIGINT NOT NULL,
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    job_id BIGINT NOT NULL,
    created_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT idempotency_key_pkey PRIMARY KEY (owner_id, key),
    CONSTRAINT idempotency_key_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES user_account (id)
);
"""


def upgrade() -> None:
    for statement in STATEMENTS.strip().rstrip(";").split(";\n"):
        op.execute(statement)


def downgrade() -> None:
    raise RuntimeError("Stoker's schema goes forward only; to go back, restore a backup.")
