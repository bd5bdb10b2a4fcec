-- name: series
-- The jobs that ended in a window, by steps of it and by status: whole days (where a step is no
-- shorter) and hours from the rollups that are right, the rest from the jobs themselves, in one
-- snapshot as in tallies.sql. Steps are counted from :origin.
WITH asked AS (
    SELECT CAST(:since AS timestamptz) AS since, CAST(:until AS timestamptz) AS until,
           CAST(:origin AS timestamptz) AS origin, CAST(:step AS double precision) AS step,
           CASE WHEN CAST(:task AS text) IS NULL THEN 'status' ELSE 'task' END AS dimension,
           CAST(:step AS double precision) >= 86400 AS with_days,
           CAST(:step AS double precision) >= 3600 AS with_hours
),
-- include: rolled_parts
, rolled AS (
    SELECT rollup.*
    FROM asked JOIN rollup ON span = 'day' AND rollup.dimension = asked.dimension
        AND begins_at >= since AND begins_at < until
    WHERE begins_at IN (SELECT begins_at FROM day)
      AND (CAST(:task AS text) IS NULL OR name = :task)
    UNION ALL
    SELECT rollup.*
    FROM asked JOIN rollup ON span = 'hour' AND rollup.dimension = asked.dimension
        AND begins_at >= since AND begins_at < until
    WHERE begins_at IN (SELECT begins_at FROM hour)
      AND (CAST(:task AS text) IS NULL OR name = :task)
), ended AS (
    SELECT status, ended_at, wait_ms, CASE WHEN started_at IS NOT NULL THEN run_ms END AS run_ms
    FROM gap CROSS JOIN LATERAL (
        SELECT task, status, ended_at, started_at, run_ms, wait_ms
        FROM job WHERE ended_at >= gap.since AND ended_at < gap.until
        OFFSET 0
    ) AS job
    WHERE CAST(:task AS text) IS NULL OR task = :task
)
SELECT floor(extract(epoch FROM begins_at - origin) / step)::int AS step, status,
       sum(jobs)::bigint AS jobs, sum(runs)::bigint AS runs, sum(run_ms)::bigint AS run_ms,
       min(min_run_ms) AS min_run_ms, max(max_run_ms) AS max_run_ms,
       string_agg(array_send(run_histogram), ''::bytea) AS run_histograms,
       string_agg(array_send(wait_histogram), ''::bytea) AS wait_histograms,
       NULL::bytea AS run_buckets, NULL::bytea AS wait_buckets
FROM rolled CROSS JOIN asked
GROUP BY 1, 2
UNION ALL
SELECT floor(extract(epoch FROM ended_at - origin) / step)::int, status,
       count(*), count(run_ms), coalesce(sum(run_ms), 0)::bigint, min(run_ms), max(run_ms), NULL,
       NULL,
       string_agg(int2send(width_bucket(run_ms, CAST(:bounds AS bigint[]))::int2), ''::bytea),
       string_agg(int2send(width_bucket(wait_ms, CAST(:bounds AS bigint[]))::int2), ''::bytea)
FROM ended CROSS JOIN asked
GROUP BY 1, 2;

-- name: owned_series
-- The same of one user's jobs, all of it from the jobs themselves.
SELECT floor(extract(epoch FROM ended_at - CAST(:origin AS timestamptz))
             / CAST(:step AS double precision))::int AS step,
       status, count(*) AS jobs, count(started_at) AS runs,
       coalesce(sum(run_ms) FILTER (WHERE started_at IS NOT NULL), 0)::bigint AS run_ms,
       min(run_ms) FILTER (WHERE started_at IS NOT NULL) AS min_run_ms,
       max(run_ms) FILTER (WHERE started_at IS NOT NULL) AS max_run_ms,
       NULL::bytea AS run_histograms, NULL::bytea AS wait_histograms,
       string_agg(int2send(width_bucket(run_ms, CAST(:bounds AS bigint[]))::int2), ''::bytea)
           FILTER (WHERE started_at IS NOT NULL) AS run_buckets,
       string_agg(int2send(width_bucket(wait_ms, CAST(:bounds AS bigint[]))::int2), ''::bytea)
           FILTER (WHERE wait_ms IS NOT NULL) AS wait_buckets
FROM job
WHERE owner_name = :owner_name AND ended_at >= :since AND ended_at < :until
  AND (CAST(:task AS text) IS NULL OR task = :task)
GROUP BY 1, 2;

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
