-- name: tally
-- The jobs that ended in a window, by one dimension's name and by status, and those that are open:
-- whole days and hours from the rollups that are right, the rest from the jobs themselves. One
-- statement, so one snapshot: no job is missed or counted twice.
WITH asked AS (
    SELECT coalesce(CAST(:since AS timestamptz), '-infinity') AS since,
           coalesce(CAST(:until AS timestamptz), 'infinity') AS until,
           true AS with_days, true AS with_hours
),
-- include: rolled_parts
, rolled AS (
    SELECT rollup.*
    FROM asked JOIN rollup ON span = 'day' AND dimension = :dimension
        AND begins_at >= since AND begins_at < until
    WHERE begins_at IN (SELECT begins_at FROM day)
    UNION ALL
    SELECT rollup.*
    FROM asked JOIN rollup ON span = 'hour' AND dimension = :dimension
        AND begins_at >= since AND begins_at < until
    WHERE begins_at IN (SELECT begins_at FROM hour)
), ended AS (
    SELECT CASE :dimension WHEN 'task' THEN task WHEN 'queue' THEN queue WHEN 'model' THEN model
               ELSE status END AS name,
           status, started_at, wait_ms,
           CASE WHEN started_at IS NOT NULL THEN run_ms END AS run_ms
    FROM gap CROSS JOIN LATERAL (
        SELECT task, queue, model, status, started_at, run_ms, wait_ms
        FROM job WHERE ended_at >= gap.since AND ended_at < gap.until
        OFFSET 0
    ) AS job
), open AS (
    SELECT CASE :dimension WHEN 'task' THEN task WHEN 'queue' THEN queue WHEN 'model' THEN model
               ELSE status END AS name,
           status, attempt_started_at, scheduled_at, NULL::timestamptz AS due_at
    FROM job WHERE status = 'running'
    UNION ALL
    SELECT CASE :dimension WHEN 'task' THEN task WHEN 'queue' THEN queue WHEN 'model' THEN model
               ELSE status END,
           status, NULL, scheduled_at,
           CASE WHEN held.id IS NULL AND (scheduled_at IS NULL OR scheduled_at <= now())
                THEN greatest(created_at, scheduled_at) END
    FROM job
    -- What still waits for others is not due.
    LEFT JOIN (SELECT id FROM waiting_job WHERE needs > 0) AS held USING (id)
    WHERE status IN ('pending', 'retrying') AND CAST(:with_waiting AS boolean)
)
SELECT name, status, sum(jobs)::bigint AS jobs, 0::bigint AS later, sum(runs)::bigint AS runs,
       sum(run_ms)::bigint AS run_ms, min(min_run_ms) AS min_run_ms, max(max_run_ms) AS max_run_ms,
       max(last_started_at) AS last_started_at, sum(waits)::bigint AS waits,
       sum(wait_ms)::bigint AS wait_ms,
       string_agg(array_send(run_histogram), ''::bytea)
           FILTER (WHERE status = ANY (CAST(:histograms AS text[]))) AS histograms,
       NULL::bytea AS buckets, NULL::timestamptz AS oldest_due_at
FROM rolled
GROUP BY name, status
UNION ALL
SELECT name, status, count(*), 0, count(run_ms), coalesce(sum(run_ms), 0)::bigint, min(run_ms),
       max(run_ms), max(started_at), count(wait_ms), coalesce(sum(wait_ms), 0)::bigint, NULL,
       string_agg(int2send(width_bucket(run_ms, CAST(:bounds AS bigint[]))::int2), ''::bytea)
           FILTER (WHERE status = ANY (CAST(:histograms AS text[]))),
       NULL
FROM ended
WHERE name IS NOT NULL
GROUP BY name, status
UNION ALL
SELECT name, status, count(*), count(*) FILTER (WHERE scheduled_at > now()), 0, 0, NULL, NULL,
       max(attempt_started_at), 0, 0, NULL, NULL, min(due_at)
FROM open
WHERE name IS NOT NULL
GROUP BY name, status;

-- name: owned
-- The same of one user's jobs, all of it from the jobs themselves.
SELECT CASE :dimension WHEN 'task' THEN task WHEN 'queue' THEN queue WHEN 'model' THEN model
           ELSE status END AS name,
       status, count(*) AS jobs,
       count(*) FILTER (WHERE ended_at IS NULL AND scheduled_at > now()) AS later,
       count(started_at) FILTER (WHERE ended_at IS NOT NULL) AS runs,
       coalesce(sum(run_ms) FILTER (WHERE started_at IS NOT NULL), 0)::bigint AS run_ms,
       min(run_ms) FILTER (WHERE started_at IS NOT NULL) AS min_run_ms,
       max(run_ms) FILTER (WHERE started_at IS NOT NULL) AS max_run_ms,
       max(CASE WHEN ended_at IS NULL THEN attempt_started_at ELSE started_at END)
           AS last_started_at,
       count(wait_ms) AS waits, coalesce(sum(wait_ms), 0)::bigint AS wait_ms,
       NULL::bytea AS histograms,
       string_agg(int2send(width_bucket(run_ms, CAST(:bounds AS bigint[]))::int2), ''::bytea)
           FILTER (WHERE ended_at IS NOT NULL AND started_at IS NOT NULL
                   AND status = ANY (CAST(:histograms AS text[]))) AS buckets,
       min(greatest(created_at, scheduled_at)) FILTER (
           WHERE status IN ('pending', 'retrying') AND held.id IS NULL
             AND (scheduled_at IS NULL OR scheduled_at <= now())) AS oldest_due_at
FROM job LEFT JOIN (SELECT id FROM waiting_job WHERE needs > 0) AS held USING (id)
WHERE owner_name = :owner_name
  AND (ended_at >= coalesce(CAST(:since AS timestamptz), '-infinity')
       AND ended_at < coalesce(CAST(:until AS timestamptz), 'infinity')
       OR status = 'running'
       OR status IN ('pending', 'retrying') AND CAST(:with_waiting AS boolean))
GROUP BY 1, 2
HAVING CASE :dimension WHEN 'model' THEN count(model) > 0 ELSE true END;
