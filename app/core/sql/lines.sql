-- name: line
-- What waits, in the order in which it will be fetched: first what is due (of each status those that
-- have waited longest, :most at most), then what is scheduled, then what waits for other jobs. One part for each status, as in
-- overview.sql: the index has each in the order of its creation.
SELECT id, task, queue, model, priority, status, created_at, scheduled_at, owner_name, message,
       progress, attempts, error_message
FROM (
    (SELECT *, 0 AS part FROM job
     WHERE status = 'pending' AND (scheduled_at IS NULL OR scheduled_at <= now())
       AND NOT EXISTS (SELECT FROM waiting_job WHERE waiting_job.id = job.id AND needs > 0)
       AND (CAST(:owner_name AS text) IS NULL OR owner_name = :owner_name)
       AND (CAST(:task AS text) IS NULL OR task = :task)
     ORDER BY created_at, id LIMIT :most)
    UNION ALL
    (SELECT *, 0 FROM job
     WHERE status = 'retrying' AND (scheduled_at IS NULL OR scheduled_at <= now())
       AND NOT EXISTS (SELECT FROM waiting_job WHERE waiting_job.id = job.id AND needs > 0)
       AND (CAST(:owner_name AS text) IS NULL OR owner_name = :owner_name)
       AND (CAST(:task AS text) IS NULL OR task = :task)
     ORDER BY created_at, id LIMIT :most)
    UNION ALL
    (SELECT *, 1 FROM job
     WHERE status IN ('pending', 'retrying') AND scheduled_at > now()
       AND (CAST(:owner_name AS text) IS NULL OR owner_name = :owner_name)
       AND (CAST(:task AS text) IS NULL OR task = :task)
     ORDER BY scheduled_at, id LIMIT :most)
    UNION ALL
    (SELECT job.*, 2 FROM waiting_job JOIN job ON job.id = waiting_job.id
     WHERE needs > 0 AND job.status IN ('pending', 'retrying')
       AND (job.scheduled_at IS NULL OR job.scheduled_at <= now())
       AND (CAST(:owner_name AS text) IS NULL OR job.owner_name = :owner_name)
       AND (CAST(:task AS text) IS NULL OR job.task = :task)
     ORDER BY job.id LIMIT :most)
) AS waiting
ORDER BY part, CASE WHEN part = 0 THEN -priority END, CASE WHEN part = 1 THEN scheduled_at END,
         created_at, id
LIMIT :limit OFFSET :offset;

-- name: in_front
-- How many that are due stand in front of each of these jobs in its queue, up to a number. Jobs that
-- are not in the queue (any more) have no row.
SELECT job.id, front.jobs
FROM procrastinate_jobs AS job
CROSS JOIN LATERAL (
    SELECT count(*) AS jobs
    FROM (
        SELECT FROM procrastinate_jobs AS other
        WHERE other.status = 'todo' AND other.queue_name = job.queue_name AND other.id <> job.id
          AND (other.scheduled_at IS NULL OR other.scheduled_at <= now())
          AND (other.priority > job.priority
               OR (other.priority = job.priority AND other.id < job.id))
        LIMIT :most
    ) AS counted
) AS front
WHERE job.id = ANY (CAST(:ids AS bigint[])) AND job.status = 'todo';
