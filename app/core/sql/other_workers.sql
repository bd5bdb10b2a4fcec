-- Procrastinate's workers, which another app's are.

-- name: are_known
SELECT EXISTS (
    SELECT FROM pg_attribute
    WHERE attrelid = to_regclass('procrastinate_jobs') AND attname = 'worker_id' AND NOT attisdropped
);

-- name: heard_at
-- When any of Procrastinate's workers was heard of last.
SELECT max(last_heartbeat) FROM procrastinate_workers;
