-- name: queue_age
-- The job that has been due for the longest time and waits, of one queue, one task, or any. Each
-- status by itself, so that its index gives the oldest first.
SELECT id AS job_id, due_at AS since
FROM (
    (SELECT id, created_at AS due_at FROM job
     WHERE status = 'pending' AND scheduled_at IS NULL
       AND (CAST(:queue AS text) IS NULL OR queue = :queue)
       AND (CAST(:task AS text) IS NULL OR task = :task)
     ORDER BY created_at LIMIT 1)
    UNION ALL
    (SELECT id, created_at FROM job
     WHERE status = 'retrying' AND scheduled_at IS NULL
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

-- name: failure
-- A job that failed within the window: the newest by its creation, which an index finds at once.
SELECT id
FROM job
WHERE status = 'failed' AND ended_at > :since AND ended_at <= :now
  AND (CAST(:queue AS text) IS NULL OR queue = :queue)
  AND (CAST(:task AS text) IS NULL OR task = :task)
ORDER BY created_at DESC, id DESC
LIMIT 1;

-- name: heard_at
-- When any worker was heard of last, of Stoker's or of another app on the same queue. Nobody can be
-- heard while the server is down, nor before the rule was made.
SELECT greatest(
    coalesce(
        greatest(
            (SELECT max(last_heartbeat_at) FROM worker WHERE kind = 'worker'),
            (SELECT max(last_heartbeat) FROM procrastinate_workers)
        ),
        :created_at
    ),
    pg_postmaster_start_time()
);
