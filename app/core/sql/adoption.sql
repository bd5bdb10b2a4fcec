-- name: past
-- How much there is to take over.
SELECT count(*) AS jobs, max(id) AS last_job_id,
       (SELECT min(at) FROM procrastinate_events WHERE type <> 'scheduled') AS oldest_at
FROM procrastinate_jobs;

-- name: next_jobs
-- The next jobs, newest first, that the record may not have.
SELECT min(id) AS first_id, array_agg(id) AS ids
FROM (
    SELECT id FROM procrastinate_jobs WHERE id <= :upto ORDER BY id DESC LIMIT :size
) AS chunk;

-- name: take_over
-- Record these jobs, by what Procrastinate's rows and events say. What is recorded of one already is
-- corrected, not doubled; nothing that only a worker knows is lost by that. :in_place says whether
-- there may be such.
WITH queued AS MATERIALIZED (
    SELECT job.id, job.task_name, job.queue_name, job.priority, job.lock, job.queueing_lock, job.args,
           job.scheduled_at, job.attempts, job.abort_requested, job.status::text AS status,
           CASE WHEN job.status = 'doing'
               THEN (to_jsonb(job) ->> 'worker_id')::bigint END AS worker_id,
           known.created_at AS known_at
    FROM procrastinate_jobs AS job
    LEFT JOIN job AS known ON known.id = job.id
    WHERE job.id = ANY (CAST(:ids AS bigint[])) AND (:in_place OR known.id IS NULL)
), event AS MATERIALIZED (
    -- `step` counts a job's changes of status until then.
    SELECT *, count(word) OVER (PARTITION BY job_id ORDER BY id) AS step
    FROM (
        SELECT event.job_id, event.id, event.at, event.type::text AS type,
               CASE event.type::text
                   WHEN 'started' THEN 'running'
                   WHEN 'deferred_for_retry' THEN 'retrying'
                   WHEN 'retried' THEN 'retrying'
                   WHEN 'succeeded' THEN 'completed'
                   WHEN 'failed' THEN 'failed'
                   WHEN 'cancelled' THEN 'cancelled'
                   WHEN 'aborted' THEN 'cancelled'
               END AS word
        FROM procrastinate_events AS event
        WHERE event.job_id = ANY (CAST(:ids AS bigint[]))
          AND event.job_id IN (SELECT id FROM queued)
    ) AS worded
), move AS MATERIALIZED (
    -- Each change of status, with the next one.
    SELECT job_id, id, at, type, word, step,
           lag(word, 1, 'pending') OVER ordered AS from_word,
           lead(type) OVER ordered AS next_type,
           lead(at) OVER ordered AS next_at,
           -- Procrastinate counts each end of a try, and each retry of what had failed.
           1 + count(*) FILTER (WHERE type IN
               ('deferred_for_retry', 'retried', 'succeeded', 'failed', 'aborted')) OVER ordered AS number
    FROM event WHERE word IS NOT NULL
    WINDOW ordered AS (PARTITION BY job_id ORDER BY id)
), born AS MATERIALIZED (
    SELECT queued.id,
           coalesce(queued.known_at, first.deferred_at, first.at, neighbour.at, clock_timestamp())
               AS created_at,
           first.last_at, first.due_at
    FROM queued
    LEFT JOIN (
        SELECT event.job_id,
               min(event.at) FILTER (WHERE event.type = 'deferred') AS deferred_at,
               min(event.at) FILTER (WHERE event.type <> 'scheduled') AS at,
               max(event.at) FILTER (WHERE event.type <> 'scheduled') AS last_at,
               max(event.at) FILTER (WHERE event.type = 'scheduled'
                   AND event.id < coalesce(began.id, event.id + 1)) AS due_at
        FROM event
        LEFT JOIN (
            SELECT job_id, min(id) AS id FROM event WHERE type = 'started' GROUP BY job_id
        ) AS began ON began.job_id = event.job_id
        GROUP BY event.job_id
    ) AS first ON first.job_id = queued.id
    LEFT JOIN LATERAL (
        -- Its own events are gone: it was made after the job before it.
        SELECT event.at FROM procrastinate_events AS event
        WHERE first.job_id IS NULL AND event.job_id < queued.id AND event.type = 'deferred'
        ORDER BY event.job_id DESC LIMIT 1
    ) AS neighbour ON true
), try AS MATERIALIZED (
    SELECT move.job_id, move.at AS started_at,
           CASE WHEN move.next_type IS NULL AND queued.status IN ('doing', 'aborting')
               THEN greatest(move.number, queued.attempts + 1) ELSE move.number END AS number,
           CASE WHEN move.next_type IS NULL AND queued.status IN ('doing', 'aborting')
               THEN NULL ELSE coalesce(move.next_at, move.at) END AS ended_at,
           CASE
               WHEN move.next_type IS NULL AND queued.status IN ('doing', 'aborting') THEN NULL
               WHEN move.next_type IN ('deferred_for_retry', 'failed') THEN 'failed'
               WHEN move.next_type = 'succeeded' THEN 'completed'
               WHEN move.next_type IN ('aborted', 'cancelled') THEN 'cancelled'
               ELSE 'lost'
           END AS outcome
    FROM move JOIN queued ON queued.id = move.job_id
    WHERE move.type = 'started'
), abort AS MATERIALIZED (
    -- Of what runs; what waits is cancelled by it.
    SELECT event.job_id, event.id, event.at
    FROM event JOIN move ON move.job_id = event.job_id AND move.step = event.step
    WHERE event.type = 'abort_requested' AND move.word = 'running'
), fact AS MATERIALIZED (
    SELECT queued.*, born.created_at,
           CASE queued.status
               WHEN 'todo' THEN CASE WHEN last.word = 'retrying' THEN 'retrying' ELSE 'pending' END
               WHEN 'succeeded' THEN 'completed'
               WHEN 'failed' THEN 'failed'
               WHEN 'cancelled' THEN 'cancelled'
               WHEN 'aborted' THEN 'cancelled'
               ELSE 'running'
           END AS is_now,
           aborts.at AS abort_at,
           coalesce(tries.latest, 0) AS tries, tries.first_at, tries.latest_at,
           coalesce(tries.run_ms, 0) AS run_ms,
           CASE WHEN queued.status IN ('succeeded', 'failed', 'cancelled', 'aborted')
               THEN coalesce(last.at, born.last_at, born.created_at) END AS ended_at,
           CASE WHEN tries.first_at IS NOT NULL THEN
               greatest(0, 1000 * date_part('epoch', tries.first_at
                   - greatest(born.created_at, coalesce(born.due_at, born.created_at))))::bigint
           END AS wait_ms
    FROM queued
    JOIN born ON born.id = queued.id
    LEFT JOIN (
        SELECT job_id, at, word FROM move WHERE next_type IS NULL
    ) AS last ON last.job_id = queued.id
    LEFT JOIN (
        SELECT job_id, max(number) AS latest, min(started_at) AS first_at, max(started_at) AS latest_at,
               sum(greatest(0, 1000 * date_part('epoch', ended_at - started_at)))::bigint AS run_ms
        FROM try GROUP BY job_id
    ) AS tries ON tries.job_id = queued.id
    LEFT JOIN (
        SELECT job_id, max(at) AS at FROM abort GROUP BY job_id
    ) AS aborts ON aborts.job_id = queued.id
), recorded AS (
    INSERT INTO job
        (id, created_at, task, queue, priority, lock, queueing_lock, arguments, scheduled_at,
         owner_name, model, status, attempts, cancel_requested_at, progress, started_at,
         attempt_started_at, ended_at, run_ms, wait_ms)
    SELECT id, created_at, task_name, queue_name, priority, lock, queueing_lock, args, scheduled_at,
           left(args ->> 'user', 200), left(args ->> 'model', 200), is_now, tries, abort_at,
           CASE WHEN is_now = 'completed' THEN 100 ELSE 0 END, first_at, latest_at, ended_at, run_ms,
           wait_ms
    FROM fact WHERE known_at IS NULL
    RETURNING id
), corrected AS (
    UPDATE job
    SET status = fact.is_now, queue = fact.queue_name, priority = fact.priority, lock = fact.lock,
        queueing_lock = fact.queueing_lock, arguments = fact.args, scheduled_at = fact.scheduled_at,
        attempts = fact.tries, cancel_requested_at = fact.abort_at,
        progress = CASE WHEN fact.is_now = 'completed' THEN 100 ELSE job.progress END,
        started_at = fact.first_at, attempt_started_at = fact.latest_at, ended_at = fact.ended_at,
        run_ms = fact.run_ms, wait_ms = fact.wait_ms
    FROM fact
    WHERE job.created_at = fact.known_at AND job.id = fact.id
    RETURNING job.id
), tried AS (
    INSERT INTO attempt
        (job_id, job_created_at, number, task, queue, queue_worker_id, started_at, ended_at, outcome)
    SELECT DISTINCT ON (try.job_id, try.number)
           try.job_id, fact.created_at, try.number, fact.task_name, fact.queue_name,
           CASE WHEN try.outcome IS NULL THEN fact.worker_id END, try.started_at, try.ended_at,
           try.outcome
    FROM try JOIN fact ON fact.id = try.job_id
    ORDER BY try.job_id, try.number, try.started_at DESC
    ON CONFLICT (job_created_at, job_id, number) DO UPDATE
    SET ended_at = excluded.ended_at, outcome = excluded.outcome,
        queue_worker_id = coalesce(attempt.queue_worker_id, excluded.queue_worker_id)
    WHERE (attempt.outcome IS NULL) <> (excluded.outcome IS NULL)
    RETURNING attempt.job_id
), forgotten AS (
    DELETE FROM job_transition USING fact
    WHERE job_transition.job_created_at = fact.known_at AND job_transition.job_id = fact.id
    RETURNING job_transition.job_id
), moved AS (
    INSERT INTO job_transition (job_id, job_created_at, at, from_status, to_status, details)
    -- A waiting job that was ended in any way has the event of a cancellation.
    SELECT fact.id, fact.created_at, step.at, step.from_word,
           CASE WHEN step.ends THEN fact.is_now ELSE step.word END, step.details
    FROM (
        SELECT job_id, id, at, from_word, word, type = 'cancelled' AND next_type IS NULL AS ends,
               CASE word WHEN 'running' THEN 'attempt ' || number END AS details
        FROM move
        UNION ALL
        SELECT job_id, id, at, 'running', 'running', false, 'abort requested' FROM abort
    ) AS step
    JOIN fact ON fact.id = step.job_id
    ORDER BY step.job_id, step.id
), searchable AS (
    INSERT INTO job_search (job_id, job_created_at, words)
    SELECT id, created_at, stoker_words(id, task_name, args ->> 'user', args) FROM fact
    WHERE known_at IS NULL
), changed AS (
    INSERT INTO dirty_hour
    SELECT DISTINCT date_trunc('hour', ended_at, 'UTC') FROM fact WHERE ended_at IS NOT NULL
    ON CONFLICT DO NOTHING
)
SELECT (SELECT count(*) FROM recorded) AS jobs, (SELECT count(*) FROM tried) AS attempts,
       (SELECT count(*) FROM corrected) AS corrected;

-- name: changed_unseen
-- Older jobs whose record is not what the queue says: they changed while they were taken over. Only
-- what a transaction since the horizon wrote can be so.
SELECT queued.id
FROM procrastinate_jobs AS queued
JOIN job ON job.id = queued.id
WHERE queued.id <= :last_job_id
  AND age(queued.xmin) <= age(CAST(CAST(:horizon AS xid8) AS xid))
  AND (
      job.status NOT IN (
          CASE queued.status::text
              WHEN 'todo' THEN 'pending' WHEN 'succeeded' THEN 'completed' WHEN 'failed' THEN 'failed'
              WHEN 'cancelled' THEN 'cancelled' WHEN 'aborted' THEN 'cancelled' ELSE 'running' END,
          CASE WHEN queued.status = 'todo' THEN 'retrying' ELSE '' END
      )
      OR (SELECT count(*) FROM attempt WHERE attempt.job_id = queued.id) < (
          SELECT count(*) FROM procrastinate_events AS event
          WHERE event.job_id = queued.id AND event.type = 'started'
      )
      -- The end of a try was not seen, but the start of the next one was.
      OR (SELECT count(*) FROM attempt WHERE attempt.job_id = queued.id AND outcome IS NULL)
          > (queued.status = 'doing')::int
      OR job.queue <> queued.queue_name
      OR job.priority <> queued.priority
      OR job.lock IS DISTINCT FROM queued.lock
      OR job.queueing_lock IS DISTINCT FROM queued.queueing_lock
      OR job.arguments <> queued.args
      OR job.scheduled_at IS DISTINCT FROM queued.scheduled_at
      OR (queued.status = 'doing' AND queued.abort_requested AND job.cancel_requested_at IS NULL)
  )
ORDER BY queued.id;

-- name: lock_jobs
SELECT id FROM job WHERE id = ANY (CAST(:ids AS bigint[])) ORDER BY id FOR UPDATE;

-- name: close_deleted
-- Older jobs that were deleted while they were taken over: whoever deletes what it ends says no more.
WITH gone AS (
    SELECT job.id, job.created_at, job.status FROM job
    WHERE job.status IN ('pending', 'retrying', 'running') AND job.id <= :last_job_id
      AND NOT EXISTS (SELECT FROM procrastinate_jobs AS queued WHERE queued.id = job.id)
      AND NOT EXISTS (SELECT FROM waiting_job WHERE waiting_job.id = job.id)
), closed AS (
    UPDATE attempt SET ended_at = clock_timestamp(), outcome = 'deleted'
    FROM gone
    WHERE attempt.job_created_at = gone.created_at AND attempt.job_id = gone.id
      AND attempt.outcome IS NULL
), ended AS (
    UPDATE job SET status = 'completed', ended_at = clock_timestamp(), progress = 100
    FROM gone WHERE job.created_at = gone.created_at AND job.id = gone.id
    RETURNING job.id, job.created_at, gone.status
)
INSERT INTO job_transition (job_id, job_created_at, from_status, to_status, details)
SELECT id, created_at, status, 'completed',
       'its row was deleted while the record began; how it ended was not recorded'
FROM ended
RETURNING job_id;

-- name: writers
-- The transactions that may have changed a job and are not over.
SELECT DISTINCT virtualtransaction, pid FROM pg_locks
WHERE relation = to_regclass('procrastinate_jobs')
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND granted AND mode IN
      ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
  AND pid IS DISTINCT FROM pg_backend_pid();

-- name: begin
-- Which jobs are older than the triggers. Said once: whoever goes on with it finds it said.
UPDATE adoption
SET horizon = pg_snapshot_xmin(pg_current_snapshot())::text,
    last_job_id = coalesce((SELECT max(id) FROM procrastinate_jobs), 0),
    next_job_id = (SELECT max(id) FROM procrastinate_jobs)
WHERE last_job_id IS NULL;
