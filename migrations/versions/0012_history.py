"""The history of batches: searched by what a batch is called, in any order; requests by their custom_id.

The index for parts of words is made by app.core.record, where the server offers trigrams.
"""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"

# Whole milliseconds from the first request to the end, and thousandths of a request per second.
RUN = (
    "(EXTRACT(epoch FROM COALESCE(completed_at, failed_at, expired_at, cancelled_at)"
    " - in_progress_at) * 1000)::bigint"
)
RATE = f"CASE WHEN ({RUN}) IS NOT NULL THEN (completed + failed) * 1000000 / GREATEST({RUN}, 1) END"

FILE_NAMES = """
ALTER TABLE batch ADD COLUMN input_filename TEXT;
UPDATE batch SET input_filename = file.filename FROM file WHERE file.id = batch.input_file_id
"""
INDEXES = f"""
ALTER TABLE batch ADD COLUMN millirate BIGINT GENERATED ALWAYS AS ({RATE}) STORED;
CREATE INDEX batch_id_prefix_idx ON batch (id text_pattern_ops);
CREATE INDEX batch_total_idx ON batch (total, number);
CREATE INDEX batch_run_idx ON batch (({RUN}), number) WHERE {RUN} IS NOT NULL;
CREATE INDEX batch_rate_idx ON batch (millirate, number) WHERE millirate IS NOT NULL;
CREATE INDEX batch_without_run_idx ON batch (created_at, number) WHERE {RUN} IS NULL;
CREATE INDEX batch_metadata_idx ON batch USING gin (metadata jsonb_path_ops);
CREATE INDEX request_custom_id_idx ON request (batch_number, custom_id text_pattern_ops)
"""


def upgrade() -> None:
    for statement in (FILE_NAMES + ";\n" + INDEXES).strip().split(";\n"):
        op.execute(statement)


def downgrade() -> None:
    raise RuntimeError("Stoker's schema goes forward only; to go back, restore a backup.")
