-- What keeps a job that waits from being fetched, as Procrastinate's own fetch sees it.

-- name: lock_holder
-- The job that has the lock, or goes before under it.
SELECT id, status = 'doing' AS is_running
FROM procrastinate_jobs
WHERE lock = :lock AND id <> :job_id AND status IN ('todo', 'doing')
  AND (status = 'doing' OR priority > :priority OR (priority = :priority AND id < :job_id))
ORDER BY status = 'doing' DESC, priority DESC, id
LIMIT 1;

-- name: queueing_lock_holder
-- The job that waits in the queue with the same queueing lock: ours enters when that has left.
SELECT id FROM procrastinate_jobs
WHERE queueing_lock = :queueing_lock AND status = 'todo' AND id <> :job_id
LIMIT 1;

-- name: needs
-- On how many jobs one still depends.
SELECT needs FROM waiting_job WHERE id = :job_id;
