-- name: add
-- A job's record, its words and its place among those that wait, as the trigger on Procrastinate's
-- table would record it. Takes its id from Procrastinate's own sequence.
WITH recorded AS (
    INSERT INTO job
        (id, created_by, task, queue, priority, lock, queueing_lock, arguments, scheduled_at,
         owner_name, model, timeout_seconds)
    SELECT nextval(pg_get_serial_sequence('procrastinate_jobs', 'id')),
           nullif(current_setting('application_name'), ''), :task, :queue, :priority, :lock,
           :queueing_lock, CAST(:arguments AS jsonb), :due_at,
           coalesce(CAST(:owner_name AS text), left(CAST(:arguments AS jsonb) ->> 'user', 200)),
           coalesce(CAST(:model AS text), left(CAST(:arguments AS jsonb) ->> 'model', 200)),
           :timeout_seconds
    RETURNING id, created_at, task, queue, priority, lock, queueing_lock, arguments, scheduled_at,
              owner_name
), searchable AS (
    INSERT INTO job_search (job_id, job_created_at, words)
    SELECT id, created_at, stoker_words(id, task, owner_name, arguments) FROM recorded
)
INSERT INTO waiting_job (id, due_at, task, queue, priority, lock, queueing_lock, arguments, needs)
SELECT id, coalesce(scheduled_at, created_at), task, queue, priority, lock, queueing_lock, arguments,
       :needs
FROM recorded
RETURNING id;

-- name: is_locked
-- Whether a job that waits, here or in the queue, holds a queueing lock.
SELECT EXISTS (SELECT FROM waiting_job WHERE queueing_lock = :queueing_lock)
    OR EXISTS (
        SELECT FROM procrastinate_jobs WHERE queueing_lock = :queueing_lock AND status = 'todo'
    );

-- name: enter
-- Jobs that are due before `until`, or the one job that is named, leave for the queue, in one statement.
-- One whose queueing lock is held there stays until it is free. Rows that another mover has locked are
-- its own.
WITH due AS (
    SELECT id, due_at, task, queue, priority, lock, queueing_lock, arguments
    FROM waiting_job
    WHERE needs = 0 AND due_at <= :until
      AND (CAST(:job_id AS bigint) IS NULL OR id = CAST(:job_id AS bigint))
      AND (queueing_lock IS NULL OR NOT EXISTS (
          SELECT FROM procrastinate_jobs AS queued
          WHERE queued.queueing_lock = waiting_job.queueing_lock AND queued.status = 'todo'
      ))
    ORDER BY due_at, id
    LIMIT :limit
    FOR UPDATE OF waiting_job SKIP LOCKED
), entered AS (
    INSERT INTO procrastinate_jobs
        (id, queue_name, task_name, priority, lock, queueing_lock, args, scheduled_at)
    SELECT id, queue, task, priority, lock, queueing_lock, arguments, due_at FROM due
    ON CONFLICT DO NOTHING
    RETURNING id
)
DELETE FROM waiting_job USING entered WHERE waiting_job.id = entered.id;

-- name: wait_for_followers
-- One that depends on others may be cancelled by their ends at the same moment: those come first.
SELECT pg_advisory_xact_lock(4080113723) FROM waiting_job WHERE id = :job_id AND needs > 0;

-- name: cancel
-- One that still waits is cancelled; its record says by whom.
WITH gone AS (
    DELETE FROM waiting_job WHERE id = :job_id RETURNING id
), cancelled AS (
    UPDATE job SET status = 'cancelled', ended_at = clock_timestamp()
    FROM gone
    WHERE job.id = gone.id AND job.status = 'pending'
    RETURNING job.id, job.created_at
), told AS (
    INSERT INTO job_transition
        (job_id, job_created_at, from_status, to_status, triggered_by, details)
    SELECT id, created_at, 'pending', 'cancelled',
           coalesce(nullif(current_setting('stoker.actor', true), ''),
                    nullif(current_setting('application_name'), '')),
           nullif(current_setting('stoker.reason', true), '')
    FROM cancelled
)
SELECT id FROM gone;
