-- name: report
-- Open an incident, or count up the open one of the same fingerprint. Of its levels the highest stays.
INSERT INTO incident AS known
    (source, risk_level, fingerprint, text, job_id, details, occurrences, opened_at, last_seen_at)
VALUES (:source, :risk_level, :fingerprint, :text, :job_id, CAST(:details AS jsonb), :occurrences,
        coalesce(CAST(:seen_at AS timestamptz), clock_timestamp()),
        coalesce(CAST(:seen_at AS timestamptz), clock_timestamp()))
ON CONFLICT (fingerprint) WHERE reviewed_at IS NULL DO UPDATE
SET occurrences = known.occurrences + excluded.occurrences,
    last_seen_at = greatest(known.last_seen_at, excluded.last_seen_at),
    text = excluded.text,
    job_id = coalesce(excluded.job_id, known.job_id),
    details = known.details || excluded.details,
    risk_level = CASE
        WHEN array_position('{low,medium,high,critical}', excluded.risk_level)
             > array_position('{low,medium,high,critical}', known.risk_level)
        THEN excluded.risk_level ELSE known.risk_level END
RETURNING id, occurrences, known.xmax = 0 AS is_new;

-- name: horizon
-- Up to when everything is to be seen: what a transaction writes has an earlier time than its commit.
-- One that goes on and on is not waited for.
SELECT greatest(
    least(clock_timestamp() - interval '1 second', min(xact_start)),
    clock_timestamp() - interval '10 minutes'
)
FROM pg_stat_activity
WHERE backend_xid IS NOT NULL AND datname = current_database();

-- name: failures
-- The jobs that failed, by type and error, with the newest of each.
SELECT task, coalesce(error_type, '') AS error_type, count(*) AS jobs, max(ended_at) AS seen_at,
       (array_agg(id ORDER BY ended_at DESC))[1] AS job_id,
       (array_agg(error_message ORDER BY ended_at DESC))[1] AS error_message
FROM job
WHERE ended_at > :since AND ended_at <= :until AND status = 'failed'
GROUP BY task, coalesce(error_type, '');

-- name: stalls
-- The attempts that lost their worker, by type.
SELECT task, count(*) AS attempts, max(ended_at) AS seen_at,
       (array_agg(job_id ORDER BY ended_at DESC))[1] AS job_id,
       (array_agg(worker_name ORDER BY ended_at DESC))[1] AS worker_name
FROM attempt
WHERE ended_at > :since AND ended_at <= :until AND outcome = 'lost'
GROUP BY task;

-- name: runs
-- The completed runs, by type: how many, and those beyond the type's limit.
SELECT job.task, count(*) AS jobs, count(*) FILTER (WHERE job.run_ms > usual.limit_ms) AS slow_jobs,
       max(job.ended_at) AS seen_at, max(job.run_ms) AS longest_ms,
       (array_agg(job.id ORDER BY job.run_ms DESC))[1] AS job_id
FROM job
LEFT JOIN unnest(CAST(:tasks AS text[]), CAST(:limits_ms AS bigint[])) AS usual (task, limit_ms)
    ON usual.task = job.task
WHERE job.ended_at > :since AND job.ended_at <= :until AND job.status = 'completed'
GROUP BY job.task;
