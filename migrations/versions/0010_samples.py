"""What workers say of their machine over time."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE worker_sample (
            at timestamptz DEFAULT clock_timestamp() NOT NULL,
            worker_id UUID NOT NULL,
            host TEXT NOT NULL,
            model TEXT,
            cpu_percent REAL,
            memory_percent REAL,
            gpu_utilization REAL,
            gpu_memory_percent REAL,
            worker_cpu_percent REAL,
            worker_memory_bytes BIGINT,
            engine_cpu_percent REAL,
            engine_memory_bytes BIGINT,
            CONSTRAINT worker_sample_pkey PRIMARY KEY (at, worker_id)
        )
        """
    )


def downgrade() -> None:
    raise RuntimeError("Stoker's schema goes forward only; to go back, restore a backup.")
