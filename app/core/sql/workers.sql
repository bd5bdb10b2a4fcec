-- name: doing_jobs
-- Jobs of our tasks that a worker says it runs, with when they were last started. Owner columns are
-- null when no worker of ours has registered that queue worker.
SELECT job.id, job.worker_id AS queue_worker_id, job.attempts,
       worker.id AS owner_id,
       worker.id IS NOT NULL AND worker.stopped_at IS NULL AS owner_is_alive,
       job.id = ANY (worker.running_job_ids) AS owner_runs_it,
       date_part('epoch', worker.last_heartbeat_at - started.at) AS said_seconds_after_start,
       date_part('epoch', clock_timestamp() - coalesce(started.at, '-infinity')) AS age_seconds
FROM procrastinate_jobs AS job
LEFT JOIN worker ON job.worker_id = ANY (worker.queue_worker_ids)
LEFT JOIN LATERAL (
    SELECT max(event.at) AS at FROM procrastinate_events AS event
    WHERE event.job_id = job.id AND event.type = 'started'
) AS started ON true
WHERE job.status = 'doing' AND job.task_name = ANY (CAST(:tasks AS text[]))
  -- Another app may have tasks of the same names in its own queue.
  AND (NOT EXISTS (SELECT FROM adoption)
       OR EXISTS (SELECT FROM job AS recorded
                  WHERE recorded.id = job.id AND recorded.created_by LIKE 'stoker %'));

-- name: hold
-- Hold a job still, if it is as it was seen to be: doing, by the same worker, in the same attempt.
SELECT id FROM procrastinate_jobs
WHERE id = :id AND status = 'doing' AND attempts = :attempts
  AND worker_id IS NOT DISTINCT FROM CAST(:queue_worker_id AS bigint)
FOR UPDATE;

-- name: lose
-- Close the attempt of a job whose worker is gone, if it is still open.
UPDATE attempt SET outcome = 'lost', ended_at = clock_timestamp()
WHERE job_id = :id AND number = :attempts + 1 AND outcome IS NULL;

-- name: outcome
-- How the attempt ended in which a job is still doing: its worker may have died between the two.
SELECT outcome FROM attempt
WHERE job_id = :id AND number = :attempts + 1
ORDER BY job_created_at DESC LIMIT 1;

-- name: crashes
-- Since a batch's last answer; all of them once many of its requests have proved deadly.
SELECT attempt.number, attempt.ended_at, attempt.worker_name, attempt.token
FROM job
JOIN attempt ON attempt.job_id = job.id AND attempt.job_created_at = job.created_at
WHERE job.id = :job_id AND job.ended_at IS NULL AND attempt.outcome = 'lost'
  AND (attempt.started_at > coalesce(
           (SELECT batch.last_result_at FROM batch WHERE batch.job_id = :job_id), '-infinity')
       OR :has_many_deadly)
ORDER BY attempt.number;

-- name: due_batches
-- Open batches that nobody will bring to their end: cancelled or expired while their job waits for
-- a turn, or with a job that has ended without them.
SELECT batch.id,
       job.status IN ('cancelled', 'aborted') OR coalesce(job.abort_requested, false)
           AS is_cancelled,
       job.status = 'todo' AND job.queue_name <> :queue AS is_waiting
FROM batch
LEFT JOIN procrastinate_jobs AS job ON job.id = batch.job_id
WHERE batch.status IN ('validating', 'in_progress', 'finalizing', 'cancelling')
  AND (
      (job.status = 'todo' AND job.queue_name <> :queue
       AND (batch.status = 'cancelling' OR batch.expires_at <= clock_timestamp()))
      OR job.id IS NULL
      OR job.status NOT IN ('todo', 'doing')
  )
LIMIT 100;
