-- Jobs that are said to run, and whether somebody runs them.

-- name: heard
-- When the workers of jobs were heard of last, as Procrastinate and our own workers say it. One that
-- Procrastinate has removed, and one of ours that has ended, is gone.
SELECT job.id, job.attempts,
       greatest(queue_worker.last_heartbeat, worker.last_heartbeat_at, registered.last_heartbeat_at)
           AS heard_at,
       queue_worker.id IS NULL OR registered.stopped_at IS NOT NULL AS is_gone
FROM procrastinate_jobs AS job
LEFT JOIN procrastinate_workers AS queue_worker ON queue_worker.id = job.worker_id
LEFT JOIN worker AS registered ON job.worker_id = ANY (registered.queue_worker_ids)
LEFT JOIN attempt ON attempt.job_id = job.id AND attempt.number = job.attempts + 1
                 AND attempt.outcome IS NULL
LEFT JOIN worker ON worker.id = attempt.worker_id
WHERE job.id = ANY (CAST(:job_ids AS bigint[])) AND job.status = 'doing';

-- name: hold
-- Nobody else ends or puts back this job meanwhile.
SELECT FROM procrastinate_jobs WHERE id = :job_id AND status = 'doing' FOR UPDATE;
