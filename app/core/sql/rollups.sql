-- name: due
-- Hours whose rollups are missing, not settled yet or no longer right; newest first.
SELECT hour FROM (
    SELECT hour
    FROM generate_series(
        (SELECT date_trunc('day', min(ended_at), 'UTC') FROM job WHERE ended_at IS NOT NULL),
        clock_timestamp(),
        interval '1 hour'
    ) AS hour
    LEFT JOIN rollup_span ON rollup_span.span = 'hour' AND rollup_span.begins_at = hour
    WHERE refreshed_at IS NULL OR refreshed_at < hour + interval '2 hours'
    UNION
    SELECT hour FROM dirty_hour
) AS due
ORDER BY hour DESC;

-- name: clean
DELETE FROM dirty_hour WHERE hour = ANY (CAST(:hours AS timestamptz[]));

-- name: drop_hours
DELETE FROM rollup
WHERE span = 'hour' AND dimension IN ('task', 'queue', 'model', 'status')
  AND begins_at = ANY (CAST(:hours AS timestamptz[]));

-- name: drop_days
WITH gone AS (
    DELETE FROM rollup_span WHERE span = 'day' AND begins_at = ANY (CAST(:days AS timestamptz[]))
)
DELETE FROM rollup
WHERE span = 'day' AND dimension IN ('task', 'queue', 'model', 'status')
  AND begins_at = ANY (CAST(:days AS timestamptz[]));

-- name: confirm
INSERT INTO rollup_span (span, begins_at, refreshed_at)
SELECT :span, begins_at, :moment FROM unnest(CAST(:begins AS timestamptz[])) AS begins_at
ON CONFLICT (span, begins_at) DO UPDATE SET refreshed_at = excluded.refreshed_at;

-- name: fill_hours
WITH ended AS MATERIALIZED (
    SELECT hour AS begins_at, task, queue, model, status, started_at,
           CASE WHEN started_at IS NOT NULL THEN run_ms END AS run_ms, wait_ms
    FROM unnest(CAST(:hours AS timestamptz[])) AS hour
    JOIN job ON ended_at >= hour AND ended_at < hour + interval '1 hour'
), named AS (
    SELECT begins_at, dimension, name, status, started_at, run_ms, wait_ms
    FROM ended
    CROSS JOIN LATERAL (
        VALUES ('task', task), ('queue', queue), ('model', model), ('status', status)
    ) AS part (dimension, name)
    WHERE name IS NOT NULL
), total AS (
    SELECT begins_at, dimension, name, status, count(*) AS jobs, count(run_ms) AS runs,
           coalesce(sum(run_ms), 0)::bigint AS run_ms, min(run_ms) AS min_run_ms,
           max(run_ms) AS max_run_ms, max(started_at) AS last_started_at, count(wait_ms) AS waits,
           coalesce(sum(wait_ms), 0)::bigint AS wait_ms
    FROM named
    GROUP BY begins_at, dimension, name, status
), slot AS (
    SELECT begins_at, dimension, name, status, bucket, sum(runs)::int AS runs,
           sum(waits)::int AS waits
    FROM (
        SELECT begins_at, dimension, name, status,
               width_bucket(run_ms, CAST(:bounds AS bigint[])) AS bucket, 1 AS runs, 0 AS waits
        FROM named WHERE run_ms IS NOT NULL
        UNION ALL
        SELECT begins_at, dimension, name, status,
               width_bucket(wait_ms, CAST(:bounds AS bigint[])), 0, 1
        FROM named WHERE wait_ms IS NOT NULL
        UNION ALL
        SELECT begins_at, dimension, name, status, bucket, 0, 0
        FROM total CROSS JOIN generate_series(0, cardinality(CAST(:bounds AS bigint[]))) AS bucket
    ) AS counted
    GROUP BY begins_at, dimension, name, status, bucket
), histogram AS (
    SELECT begins_at, dimension, name, status, array_agg(runs ORDER BY bucket) AS runs,
           array_agg(waits ORDER BY bucket) AS waits
    FROM slot
    GROUP BY begins_at, dimension, name, status
)
INSERT INTO rollup
    (span, dimension, begins_at, name, status, jobs, runs, run_ms, min_run_ms, max_run_ms,
     last_started_at, run_histogram, waits, wait_ms, wait_histogram)
SELECT 'hour', dimension, begins_at, name, status, jobs, total.runs, run_ms, min_run_ms, max_run_ms,
       last_started_at, histogram.runs, total.waits, wait_ms, histogram.waits
FROM total JOIN histogram USING (begins_at, dimension, name, status);

-- name: ripe_days
-- Days without rollups whose hours are all settled and right.
SELECT day
FROM (
    SELECT date_trunc('day', begins_at, 'UTC') AS day
    FROM rollup_span
    WHERE span = 'hour' AND refreshed_at >= begins_at + interval '2 hours'
      AND NOT EXISTS (SELECT FROM dirty_hour WHERE hour = begins_at)
    GROUP BY 1
    HAVING count(*) = 24
) AS ripe
WHERE NOT EXISTS (SELECT FROM rollup_span WHERE span = 'day' AND begins_at = day)
ORDER BY day DESC;

-- name: fill_days
WITH part AS MATERIALIZED (
    SELECT date_trunc('day', begins_at, 'UTC') AS day, rollup.*
    FROM rollup
    WHERE span = 'hour' AND dimension IN ('task', 'queue', 'model', 'status')
      AND begins_at = ANY (ARRAY(
          SELECT day + hour * interval '1 hour'
          FROM unnest(CAST(:days AS timestamptz[])) AS day, generate_series(0, 23) AS hour
      ))
), slot AS (
    SELECT day, dimension, name, status, bucket, sum(slot.runs)::int AS runs,
           sum(slot.waits)::int AS waits
    FROM part
    CROSS JOIN LATERAL unnest(run_histogram, wait_histogram)
        WITH ORDINALITY AS slot (runs, waits, bucket)
    GROUP BY day, dimension, name, status, bucket
), histogram AS (
    SELECT day, dimension, name, status, array_agg(runs ORDER BY bucket) AS runs,
           array_agg(waits ORDER BY bucket) AS waits
    FROM slot
    GROUP BY day, dimension, name, status
), total AS (
    SELECT day, dimension, name, status, sum(jobs)::bigint AS jobs, sum(runs)::bigint AS runs,
           sum(run_ms)::bigint AS run_ms, min(min_run_ms) AS min_run_ms,
           max(max_run_ms) AS max_run_ms, max(last_started_at) AS last_started_at,
           sum(waits)::bigint AS waits, sum(wait_ms)::bigint AS wait_ms
    FROM part
    GROUP BY day, dimension, name, status
)
INSERT INTO rollup
    (span, dimension, begins_at, name, status, jobs, runs, run_ms, min_run_ms, max_run_ms,
     last_started_at, run_histogram, waits, wait_ms, wait_histogram)
SELECT 'day', dimension, day, name, status, jobs, total.runs, run_ms, min_run_ms, max_run_ms,
       last_started_at, histogram.runs, total.waits, wait_ms, histogram.waits
FROM total JOIN histogram USING (day, dimension, name, status);

-- name: forget
WITH gone AS (
    DELETE FROM rollup_span WHERE begins_at < date_trunc('day', CAST(:before AS timestamptz), 'UTC')
)
DELETE FROM rollup WHERE begins_at < date_trunc('day', CAST(:before AS timestamptz), 'UTC');

-- name: mark
INSERT INTO dirty_hour (hour)
SELECT DISTINCT date_trunc('hour', ended_at, 'UTC')
FROM job WHERE created_at < :before AND ended_at >= date_trunc('day', CAST(:before AS timestamptz), 'UTC');
