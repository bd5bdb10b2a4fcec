-- name: runs
-- The newest runs that share time with a window, one row a lane, type and outcome, with the columns
-- packed as Postgres sends them. `lane` is a column of the attempt; `looked_at` says how many runs
-- were looked at before those of others were left out, and `reaches_to` when the first of them ended;
-- where nothing is left, that is a row by itself. What began before `until` was made before it: later
-- months are not read.
WITH run AS MATERIALIZED (
    (SELECT job_id, job_created_at, number, task, queue, worker_name, started_at, ended_at, outcome
     FROM attempt
     WHERE outcome IS NULL AND started_at < :until AND job_created_at < :until
       AND (CAST(:task AS text) IS NULL OR task = :task)
     LIMIT :most)
    UNION ALL
    (SELECT job_id, job_created_at, number, task, queue, worker_name, started_at, ended_at, outcome
     FROM attempt
     WHERE ended_at > :since AND started_at < :until AND job_created_at < :until
       AND (CAST(:task AS text) IS NULL OR task = :task)
     ORDER BY ended_at DESC LIMIT :most)
)
SELECT looked_at, reaches_to, packed.*
FROM (SELECT count(*) AS looked_at, min(ended_at) AS reaches_to FROM run) AS looked
LEFT JOIN (
SELECT lane, task, outcome, string_agg(int8send(job_id), ''::bytea) AS jobs,
       string_agg(timestamptz_send(job_created_at), ''::bytea) AS created,
       string_agg(int8send(number), ''::bytea) AS numbers,
       string_agg(timestamptz_send(started_at), ''::bytea) AS starts,
       string_agg(timestamptz_send(coalesce(ended_at, :now)), ''::bytea) AS ends
FROM (
    SELECT run.*, CASE CAST(:lane_by AS text) WHEN 'queue' THEN queue
           WHEN 'worker' THEN worker_name ELSE task END AS lane
    FROM run
    WHERE CAST(:owner_name AS text) IS NULL OR EXISTS (
        SELECT FROM job
        WHERE job.created_at = job_created_at AND job.id = job_id AND owner_name = :owner_name
    )
) AS laned
GROUP BY lane, task, outcome
) AS packed ON true
ORDER BY lane, task, outcome;

-- name: runs_by_job
-- The same, where `lane` is a column of the job.
WITH run AS MATERIALIZED (
    (SELECT job_id, job_created_at, number, task, queue, worker_name, started_at, ended_at, outcome
     FROM attempt
     WHERE outcome IS NULL AND started_at < :until AND job_created_at < :until
       AND (CAST(:task AS text) IS NULL OR task = :task)
     LIMIT :most)
    UNION ALL
    (SELECT job_id, job_created_at, number, task, queue, worker_name, started_at, ended_at, outcome
     FROM attempt
     WHERE ended_at > :since AND started_at < :until AND job_created_at < :until
       AND (CAST(:task AS text) IS NULL OR task = :task)
     ORDER BY ended_at DESC LIMIT :most)
)
SELECT looked_at, reaches_to, packed.*
FROM (SELECT count(*) AS looked_at, min(ended_at) AS reaches_to FROM run) AS looked
LEFT JOIN (
SELECT lane, task, outcome, string_agg(int8send(job_id), ''::bytea) AS jobs,
       string_agg(timestamptz_send(job_created_at), ''::bytea) AS created,
       string_agg(int8send(number), ''::bytea) AS numbers,
       string_agg(timestamptz_send(started_at), ''::bytea) AS starts,
       string_agg(timestamptz_send(coalesce(ended_at, :now)), ''::bytea) AS ends
FROM (
    SELECT run.*, CASE CAST(:lane_by AS text) WHEN 'model' THEN job.model
           ELSE job.owner_name END AS lane
    FROM run
    JOIN job ON job.created_at = run.job_created_at AND job.id = run.job_id
    WHERE CAST(:owner_name AS text) IS NULL OR job.owner_name = :owner_name
) AS laned
GROUP BY lane, task, outcome
) AS packed ON true
ORDER BY lane, task, outcome;

-- name: details
-- What is said of the runs that are drawn one by one.
SELECT attempt.job_id, attempt.number, attempt.error_type, attempt.error_message,
       CASE attempt.number WHEN 1 THEN job.wait_ms END AS wait_ms
FROM unnest(CAST(:jobs AS bigint[]), CAST(:created AS timestamptz[]), CAST(:numbers AS int[]))
    AS drawn (job_id, created_at, number)
JOIN attempt ON attempt.job_id = drawn.job_id AND attempt.number = drawn.number
    AND attempt.job_created_at = drawn.created_at
JOIN job ON job.created_at = drawn.created_at AND job.id = drawn.job_id;

-- name: waiting
-- What is due and has not started, :each of a lane at most, those that wait longest, with how many wait
-- in it among the :most that were made first. One part for each status: the index has each in the
-- order of its creation.
WITH due AS MATERIALIZED (
    (SELECT id, created_at, task, queue, model, owner_name, status, scheduled_at, message
     FROM job
     WHERE status = 'pending' AND (scheduled_at IS NULL OR scheduled_at <= :now)
       AND created_at < :until AND (scheduled_at IS NULL OR scheduled_at < :until)
       AND (CAST(:owner_name AS text) IS NULL OR owner_name = :owner_name)
       AND (CAST(:task AS text) IS NULL OR task = :task)
     ORDER BY created_at, id LIMIT :most)
    UNION ALL
    (SELECT id, created_at, task, queue, model, owner_name, status, scheduled_at, message
     FROM job
     WHERE status = 'retrying' AND (scheduled_at IS NULL OR scheduled_at <= :now)
       AND created_at < :until AND (scheduled_at IS NULL OR scheduled_at < :until)
       AND (CAST(:owner_name AS text) IS NULL OR owner_name = :owner_name)
       AND (CAST(:task AS text) IS NULL OR task = :task)
     ORDER BY created_at, id LIMIT :most)
), laned AS (
    SELECT *, count(*) OVER (PARTITION BY lane) AS waits,
           row_number() OVER (
               PARTITION BY lane ORDER BY coalesce(scheduled_at, created_at), id) AS place
    FROM (
        SELECT *, CASE CAST(:lane_by AS text) WHEN 'queue' THEN queue WHEN 'model' THEN model
               WHEN 'user' THEN owner_name WHEN 'worker' THEN NULL ELSE task END AS lane
        FROM due
    ) AS named
)
SELECT lane, waits, (SELECT max(jobs) FROM (SELECT count(*) AS jobs FROM due GROUP BY status) AS read) >= :most
           AS has_more,
       id, task, queue, owner_name, status, scheduled_at, created_at,
       greatest(scheduled_at, created_at, (
           SELECT max(attempt.ended_at) FROM attempt
           WHERE attempt.job_id = laned.id AND attempt.job_created_at = laned.created_at
       )) AS waits_since,
       (SELECT needs FROM waiting_job WHERE waiting_job.id = laned.id) AS needs
FROM laned
WHERE place <= :each
ORDER BY waits DESC, lane, place
LIMIT :rows;
