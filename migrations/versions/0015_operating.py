"""The rows of one run of the retention belong together; counts of ended jobs that only grow; alerts of schedules;
jobs are found by their locks and by the kind of their failure.
"""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"

# Of earlier runs: what began within a minute of the end of the row before is of the same run.
EARLIER = """
UPDATE retention_run
SET run_id = part.run_id
FROM (
    SELECT id, max(id) FILTER (WHERE is_first) OVER (ORDER BY id) AS run_id
    FROM (
        SELECT id,
               coalesce(
                   started_at > lag(coalesce(ended_at, started_at)) OVER (ORDER BY id) + interval '1 minute',
                   true
               ) AS is_first
        FROM retention_run
    ) AS each
) AS part
WHERE part.id = retention_run.id
"""

ENDED = """
CREATE TABLE ended_jobs (
    task TEXT NOT NULL,
    queue TEXT NOT NULL,
    status TEXT NOT NULL,
    jobs BIGINT NOT NULL,
    runs BIGINT[] NOT NULL,
    run_ms BIGINT NOT NULL,
    waits BIGINT[] NOT NULL,
    wait_ms BIGINT NOT NULL,
    PRIMARY KEY (task, queue, status)
)
"""

KINDS = """
ALTER TABLE alert_rule DROP CONSTRAINT alert_rule_kind_check;
ALTER TABLE alert_rule ADD CONSTRAINT alert_rule_kind_check CHECK (kind IN
    ('job_failure', 'failure_rate', 'queue_age', 'no_worker', 'slow_job', 'disk_low', 'long_transaction',
     'late_run', 'missed_runs'))
"""

FINGERPRINT = (
    "md5(task || chr(31) || COALESCE(error_type, '') || chr(31) || left(regexp_replace(regexp_replace("
    "split_part(ltrim(COALESCE(error_message, '')), chr(10), 1), '[0-9a-fA-F]{8,}', '#', 'g'),"
    " '[0-9]+', '#', 'g'), 200))"
)
INDEXES = f"""
CREATE INDEX job_lock_idx ON job (lock, created_at, id) WHERE length(lock) <= 500;
CREATE INDEX job_queueing_lock_idx ON job (queueing_lock, created_at, id) WHERE length(queueing_lock) <= 500;
CREATE INDEX job_fingerprint_idx ON job (({FINGERPRINT}), created_at, id) WHERE status = 'failed'
"""


def upgrade() -> None:
    op.execute("ALTER TABLE retention_run ADD COLUMN run_id BIGINT")
    op.execute(EARLIER)
    op.execute(ENDED)
    for statement in (KINDS.strip() + ";\n" + INDEXES.strip()).split(";\n"):
        op.execute(statement)


def downgrade() -> None:
    raise RuntimeError("Stoker's schema goes forward only; to go back, restore a backup.")
