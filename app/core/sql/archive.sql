-- name: page_end
-- The last id of the next page of Procrastinate's table; null at its end.
SELECT max(id) AS id
FROM (SELECT id FROM procrastinate_jobs WHERE id > :after ORDER BY id LIMIT :limit) AS page;

-- name: leave
-- Finished rows of one page leave; their events go with them. One whose end the record does not have,
-- or that an open batch still names, stays. On another app's database a task counts as ours only when
-- a program of ours deferred it: the other may have one of the same name.
WITH finished AS (
    SELECT queued.id
    FROM procrastinate_jobs AS queued
    CROSS JOIN LATERAL (
        SELECT status, ended_at, created_by FROM job
        WHERE job.id = queued.id ORDER BY created_at DESC LIMIT 1
    ) AS recorded
    WHERE queued.id > :after AND queued.id <= :until
      AND queued.status IN ('succeeded', 'failed', 'cancelled', 'aborted')
      AND (:is_any_task OR queued.task_name = ANY (CAST(:tasks AS text[])))
      AND (:is_any_task OR NOT :is_adopted OR recorded.created_by LIKE 'stoker %')
      AND recorded.status IN ('completed', 'failed', 'cancelled')
      AND recorded.ended_at <= clock_timestamp() - make_interval(secs => :age_seconds)
      AND NOT EXISTS (
          SELECT FROM batch
          WHERE batch.job_id = queued.id
            AND batch.status IN ('validating', 'in_progress', 'finalizing', 'cancelling')
      )
    FOR UPDATE OF queued SKIP LOCKED
)
DELETE FROM procrastinate_jobs USING finished WHERE procrastinate_jobs.id = finished.id;

-- name: release
-- Ended jobs let go of their worker: its row could not be removed quickly otherwise. The trigger does
-- so at each end; these ended before it was there.
WITH held AS (
    SELECT id FROM procrastinate_jobs
    WHERE worker_id IS NOT NULL AND status NOT IN ('todo', 'doing')
    LIMIT :limit
    FOR UPDATE SKIP LOCKED
)
UPDATE procrastinate_jobs SET worker_id = NULL
FROM held WHERE procrastinate_jobs.id = held.id;

-- name: remove_workers
-- Rows of workers that are long dead and that no job names.
DELETE FROM procrastinate_workers
WHERE last_heartbeat < clock_timestamp() - make_interval(secs => :silent_seconds)
  AND NOT EXISTS (
      SELECT FROM procrastinate_jobs WHERE procrastinate_jobs.worker_id = procrastinate_workers.id
  );
