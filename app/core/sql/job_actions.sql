-- What may be done to a job beyond what Procrastinate has a function for.

-- name: lock
-- A job's record, held until the transaction's end.
SELECT status FROM job WHERE id = :job_id AND created_at = :created_at FOR NO KEY UPDATE;

-- name: ask_to_stop
-- A running job is asked to stop, by force or not; the first time counts.
UPDATE job
SET cancel_requested_at = coalesce(cancel_requested_at, clock_timestamp()),
    abort_requested_at = CASE
        WHEN :is_abort THEN coalesce(abort_requested_at, clock_timestamp())
        ELSE abort_requested_at
    END
WHERE id = :job_id AND status = 'running'
RETURNING created_at;

-- name: acknowledge
-- The worker of a job has heard that it is to stop; the first time counts.
UPDATE job SET cancel_acknowledged_at = clock_timestamp()
WHERE id = :job_id AND status = 'running' AND cancel_requested_at IS NOT NULL
  AND cancel_acknowledged_at IS NULL
RETURNING created_at;

-- name: tell_once
-- What was done to a job, in its history, unless that says so already.
INSERT INTO job_transition
    (job_id, job_created_at, from_status, to_status, triggered_by, details)
SELECT id, created_at, status, status,
       coalesce(nullif(current_setting('stoker.actor', true), ''),
                nullif(current_setting('application_name'), ''), session_user),
       :details
FROM job
WHERE id = :job_id AND created_at = :created_at
  AND NOT EXISTS (
      SELECT FROM job_transition AS told
      WHERE told.job_id = job.id AND told.job_created_at = job.created_at
        AND told.from_status = told.to_status AND told.details = :details
  );

-- name: tell
-- What was done to a job, in its history.
INSERT INTO job_transition
    (job_id, job_created_at, from_status, to_status, triggered_by, details)
SELECT id, created_at, status, status,
       coalesce(nullif(current_setting('stoker.actor', true), ''),
                nullif(current_setting('application_name'), ''), session_user),
       :details
FROM job
WHERE id = :job_id AND created_at = :created_at;

-- name: lock_waiting
-- A job that waits in our own table.
SELECT priority, due_at AS scheduled_at, queue FROM waiting_job WHERE id = :job_id FOR UPDATE;

-- name: lock_queued
-- A job that waits in Procrastinate's. Whoever fetches it now is waited for, or passes it by.
SELECT priority, scheduled_at, queue_name AS queue
FROM procrastinate_jobs
WHERE id = :job_id AND status = 'todo'
FOR UPDATE;

-- name: change_waiting
WITH changed AS (
    UPDATE waiting_job SET priority = :priority, due_at = :scheduled_at WHERE id = :job_id
    RETURNING id
)
UPDATE job SET priority = :priority, scheduled_at = :scheduled_at
FROM changed
WHERE job.id = changed.id AND job.created_at = :created_at;

-- name: change_queued
-- Procrastinate has no function for this. The row is locked, and one that was fetched is left alone:
-- it keeps its events and its attempts, which taking it out and putting it in again would lose.
UPDATE procrastinate_jobs SET priority = :priority, scheduled_at = :scheduled_at
WHERE id = :job_id AND status = 'todo';

-- name: wake
-- Tell workers of a job as Procrastinate does of a new one: a change tells them nothing.
SELECT pg_notify(channel, json_build_object('type', 'job_inserted', 'job_id', id)::text)
FROM procrastinate_jobs
CROSS JOIN LATERAL (
    VALUES ('procrastinate_queue_v1#' || queue_name), ('procrastinate_any_queue_v1')
) AS told (channel)
WHERE id = :job_id AND status = 'todo';

-- name: first_priority
-- The highest priority of the other jobs that wait in a queue; null when there is none.
SELECT max(priority) AS priority
FROM procrastinate_jobs
WHERE queue_name = :queue AND status = 'todo' AND id <> :job_id;

-- name: prioritize_batch
UPDATE batch SET priority = :priority
WHERE job_id = :job_id
  AND status IN ('validating', 'in_progress', 'finalizing', 'cancelling');

-- name: remove_queued
-- The row of a job that has ended. Its events go with it.
DELETE FROM procrastinate_jobs
WHERE id = :job_id AND status IN ('succeeded', 'failed', 'cancelled', 'aborted');

-- name: remove_lines
-- What a batch's attempts said of the batch stays: it is the batch's log.
DELETE FROM log_line WHERE job_id = :job_id AND at >= :since AND batch_number IS NULL;

-- name: remove
-- The record of a job that has ended and is locked.
WITH gone AS (
    DELETE FROM job
    WHERE id = :job_id AND created_at = :created_at
      AND status IN ('completed', 'failed', 'cancelled')
    RETURNING id, created_at
), words AS (
    DELETE FROM job_search USING gone
    WHERE job_search.job_id = gone.id AND job_search.job_created_at = gone.created_at
), tries AS (
    DELETE FROM attempt USING gone
    WHERE attempt.job_id = gone.id AND attempt.job_created_at = gone.created_at
), items AS (
    DELETE FROM bulk_item USING gone WHERE bulk_item.bulk_id = gone.id
), changes AS (
    DELETE FROM job_transition USING gone
    WHERE job_transition.job_id = gone.id AND job_transition.job_created_at = gone.created_at
)
SELECT id FROM gone;

-- name: newest_retry
-- The latest job that retries another; jobs are no older than what they retry.
SELECT id, arguments, scheduled_at, status,
       created_at >= clock_timestamp() - make_interval(secs => :seconds) AS is_young,
       created_at
FROM job
WHERE retried_from = :job_id AND created_at >= :created_at
ORDER BY created_at DESC, id DESC
LIMIT 1;

-- name: name_retry
-- A job that retries another is its owner's.
WITH named AS (
    UPDATE job
    SET retried_from = :retried_from, owner_name = :owner_name,
        created_by = coalesce(CAST(:created_by AS text), created_by)
    WHERE id = :job_id AND status IN ('pending', 'running')
    RETURNING id, created_at, task, owner_name, arguments
)
UPDATE job_search
SET words = stoker_words(named.id, named.task, named.owner_name, named.arguments)
FROM named
WHERE job_search.job_created_at = named.created_at AND job_search.job_id = named.id;

-- name: retries
-- The latest job that retries each of these.
SELECT DISTINCT ON (retried_from) retried_from, id, status
FROM job
WHERE retried_from = ANY (CAST(:ids AS bigint[]))
ORDER BY retried_from, created_at DESC, id DESC;
