-- What open streams are told: how watched jobs stand, and their log lines.

-- name: states
-- `since` is no later than the oldest one's creation: older partitions are not looked at.
-- include: watched_columns
FROM job
WHERE id = ANY (:job_ids) AND created_at >= :since;

-- name: state
-- include: watched_columns
FROM job
WHERE id = :job_id
  AND (CAST(:owner_name AS text) IS NULL OR owner_name = CAST(:owner_name AS text))
ORDER BY created_at DESC
LIMIT 1;

-- name: lines
SELECT id, job_id, at, level, message, context, attempt_number
FROM log_line
WHERE job_id = ANY (:job_ids) AND id > :after AND id <= :until
ORDER BY id
LIMIT :limit;

-- name: lines_of_one
SELECT id, job_id, at, level, message, context, attempt_number
FROM log_line
WHERE job_id = :job_id AND id > :after AND id <= :until
ORDER BY id
LIMIT :limit;

-- name: last_line_id
-- The newest id that was ever given out, whether or not its line is visible.
SELECT coalesce(
    pg_sequence_last_value(CAST(pg_get_serial_sequence('log_line', 'id') AS regclass)), 0);

-- name: line_writers
-- The transactions that write log lines now. Each takes this lock before its first id, and holds it
-- until what it wrote is visible.
SELECT DISTINCT virtualtransaction
FROM pg_locks
WHERE locktype = 'relation' AND relation = to_regclass('log_line')
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND mode = 'RowExclusiveLock' AND granted;
