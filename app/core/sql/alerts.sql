-- name: queue_age
-- The job that has been due for the longest time and waits, of one queue, one task, or any.
SELECT id AS job_id, due_at AS since
FROM (
    (SELECT id, created_at AS due_at FROM job
     WHERE status IN ('pending', 'retrying') AND scheduled_at IS NULL
       AND (CAST(:queue AS text) IS NULL OR queue = :queue)
       AND (CAST(:task AS text) IS NULL OR task = :task)
     ORDER BY created_at LIMIT 1)
    UNION ALL
    (SELECT id, greatest(created_at, scheduled_at) FROM job
     WHERE status IN ('pending', 'retrying') AND scheduled_at <= :now
       AND (CAST(:queue AS text) IS NULL OR queue = :queue)
       AND (CAST(:task AS text) IS NULL OR task = :task)
     ORDER BY scheduled_at LIMIT 1)
) AS waiting
WHERE due_at <= :now
ORDER BY due_at
LIMIT 1;

-- name: slow_job
-- The job whose present attempt has run for the longest time.
SELECT id AS job_id, attempt_started_at AS since
FROM job
WHERE status = 'running' AND attempt_started_at <= :now
  AND (CAST(:queue AS text) IS NULL OR queue = :queue)
  AND (CAST(:task AS text) IS NULL OR task = :task)
ORDER BY attempt_started_at
LIMIT 1;

-- name: last_failure
-- The newest job that failed within the window.
SELECT id
FROM job
WHERE status = 'failed' AND ended_at > :since AND ended_at <= :now
  AND (CAST(:queue AS text) IS NULL OR queue = :queue)
  AND (CAST(:task AS text) IS NULL OR task = :task)
ORDER BY ended_at DESC
LIMIT 1;

-- name: heard_at
-- When any worker was heard of last, of Stoker's or of another app on the same queue.
SELECT greatest(
    (SELECT max(last_heartbeat_at) FROM worker WHERE kind = 'worker'),
    (SELECT max(last_heartbeat) FROM procrastinate_workers)
);
