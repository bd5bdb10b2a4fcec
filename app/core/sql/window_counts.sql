-- name: counts
-- The jobs that ended in a window, by one dimension's name (all, or that of :name) and by status, and
-- where :by_step by steps of :step seconds from :origin, too: whole days and hours (where a step is no
-- shorter) from the rollups that are right, the rest from the jobs themselves, in one snapshot as in
-- tallies.sql. Histograms come only where they are asked for.
WITH asked AS (
    SELECT CAST(:since AS timestamptz) AS since, CAST(:until AS timestamptz) AS until,
           CAST(:origin AS timestamptz) AS origin, CAST(:step AS double precision) AS step,
           CAST(:by_step AS boolean) AS by_step,
           CAST(:with_histograms AS boolean) AS with_histograms,
           NOT CAST(:by_step AS boolean) OR CAST(:step AS double precision) >= 86400 AS with_days,
           NOT CAST(:by_step AS boolean) OR CAST(:step AS double precision) >= 3600 AS with_hours
),
-- include: rolled_parts
, rolled AS (
    SELECT rollup.*
    FROM asked JOIN rollup ON span = 'day' AND dimension = :dimension
        AND begins_at >= since AND begins_at < until
    WHERE begins_at IN (SELECT begins_at FROM day)
      AND (CAST(:name AS text) IS NULL OR name = :name)
    UNION ALL
    SELECT rollup.*
    FROM asked JOIN rollup ON span = 'hour' AND dimension = :dimension
        AND begins_at >= since AND begins_at < until
    WHERE begins_at IN (SELECT begins_at FROM hour)
      AND (CAST(:name AS text) IS NULL OR name = :name)
), ended AS (
    SELECT CASE :dimension WHEN 'task' THEN task WHEN 'queue' THEN queue WHEN 'model' THEN model
               ELSE status END AS name,
           status, ended_at, wait_ms, CASE WHEN started_at IS NOT NULL THEN run_ms END AS run_ms
    FROM gap CROSS JOIN LATERAL (
        SELECT task, queue, model, status, ended_at, started_at, run_ms, wait_ms
        FROM job WHERE ended_at >= gap.since AND ended_at < gap.until
        OFFSET 0
    ) AS job
)
SELECT name,
       CASE WHEN by_step THEN floor(extract(epoch FROM begins_at - origin) / step)::int ELSE 0 END
           AS step,
       status, sum(jobs)::bigint AS jobs, sum(runs)::bigint AS runs, sum(run_ms)::bigint AS run_ms,
       min(min_run_ms) AS min_run_ms, max(max_run_ms) AS max_run_ms,
       string_agg(array_send(run_histogram), ''::bytea) FILTER (WHERE with_histograms)
           AS run_histograms,
       string_agg(array_send(wait_histogram), ''::bytea) FILTER (WHERE with_histograms)
           AS wait_histograms,
       NULL::bytea AS run_buckets, NULL::bytea AS wait_buckets
FROM rolled CROSS JOIN asked
GROUP BY 1, 2, 3
UNION ALL
SELECT name,
       CASE WHEN by_step THEN floor(extract(epoch FROM ended_at - origin) / step)::int ELSE 0 END,
       status, count(*), count(run_ms), coalesce(sum(run_ms), 0)::bigint, min(run_ms), max(run_ms),
       NULL, NULL,
       string_agg(int2send(width_bucket(run_ms, CAST(:bounds AS bigint[]))::int2), ''::bytea)
           FILTER (WHERE with_histograms),
       string_agg(int2send(width_bucket(wait_ms, CAST(:bounds AS bigint[]))::int2), ''::bytea)
           FILTER (WHERE with_histograms)
FROM ended CROSS JOIN asked
WHERE name IS NOT NULL AND (CAST(:name AS text) IS NULL OR name = :name)
GROUP BY 1, 2, 3;

-- name: owned_counts
-- The same of one user's jobs, all of it from the jobs themselves.
SELECT CASE :dimension WHEN 'task' THEN task WHEN 'queue' THEN queue WHEN 'model' THEN model
           ELSE status END AS name,
       CASE WHEN CAST(:by_step AS boolean)
            THEN floor(extract(epoch FROM ended_at - CAST(:origin AS timestamptz))
                       / CAST(:step AS double precision))::int ELSE 0 END AS step,
       status, count(*) AS jobs, count(started_at) AS runs,
       coalesce(sum(run_ms) FILTER (WHERE started_at IS NOT NULL), 0)::bigint AS run_ms,
       min(run_ms) FILTER (WHERE started_at IS NOT NULL) AS min_run_ms,
       max(run_ms) FILTER (WHERE started_at IS NOT NULL) AS max_run_ms,
       NULL::bytea AS run_histograms, NULL::bytea AS wait_histograms,
       string_agg(int2send(width_bucket(run_ms, CAST(:bounds AS bigint[]))::int2), ''::bytea)
           FILTER (WHERE started_at IS NOT NULL AND CAST(:with_histograms AS boolean)) AS run_buckets,
       string_agg(int2send(width_bucket(wait_ms, CAST(:bounds AS bigint[]))::int2), ''::bytea)
           FILTER (WHERE wait_ms IS NOT NULL AND CAST(:with_histograms AS boolean)) AS wait_buckets
FROM job
WHERE owner_name = :owner_name AND ended_at >= :since AND ended_at < :until
  AND (CAST(:dimension AS text) <> 'model' OR model IS NOT NULL)
  AND (CAST(:name AS text) IS NULL
       OR :name = CASE :dimension WHEN 'task' THEN task WHEN 'queue' THEN queue WHEN 'model' THEN model
                      ELSE status END)
GROUP BY 1, 2, 3;
