-- name: next
-- Whose turn is next among the jobs that are due and have waited longest. One part for each status:
-- the index has each in the order of its creation, so that no other jobs are read.
SELECT id, task, queue, model, priority, status, created_at, scheduled_at, message, owner_name
FROM (
    (SELECT * FROM job
     WHERE status = 'pending' AND (scheduled_at IS NULL OR scheduled_at <= now())
       AND (CAST(:owner_name AS text) IS NULL OR owner_name = :owner_name)
       AND (CAST(:task AS text) IS NULL OR task = :task)
       AND NOT EXISTS (SELECT FROM waiting_job WHERE waiting_job.id = job.id AND needs > 0)
     ORDER BY created_at, id LIMIT :most)
    UNION ALL
    (SELECT * FROM job
     WHERE status = 'retrying' AND (scheduled_at IS NULL OR scheduled_at <= now())
       AND (CAST(:owner_name AS text) IS NULL OR owner_name = :owner_name)
       AND (CAST(:task AS text) IS NULL OR task = :task)
       AND NOT EXISTS (SELECT FROM waiting_job WHERE waiting_job.id = job.id AND needs > 0)
     ORDER BY created_at, id LIMIT :most)
) AS due
ORDER BY priority DESC, created_at, id
LIMIT :limit;

-- name: later
-- What is due next of what is scheduled.
SELECT id, task, queue, model, priority, status, created_at, scheduled_at, message, owner_name
FROM job
WHERE status IN ('pending', 'retrying') AND scheduled_at > now()
  AND (CAST(:owner_name AS text) IS NULL OR owner_name = :owner_name)
  AND (CAST(:task AS text) IS NULL OR task = :task)
ORDER BY scheduled_at
LIMIT :limit;
