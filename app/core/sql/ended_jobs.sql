-- name: ended
-- The jobs that ended in a window, by task, queue, status and the buckets of their wait and run; no bucket
-- for what never waited or ran. A bucket has its upper bound in it.
SELECT task, queue, status, run_bucket, wait_bucket, count(*) AS jobs,
       coalesce(sum(run_ms), 0)::bigint AS run_ms, coalesce(sum(wait_ms), 0)::bigint AS wait_ms
FROM (
    SELECT task, queue, status, run_ms, wait_ms,
           width_bucket(run_ms - 1, CAST(:bounds AS bigint[])) AS run_bucket,
           width_bucket(wait_ms - 1, CAST(:bounds AS bigint[])) AS wait_bucket
    FROM (
        SELECT task, queue, status, CASE WHEN started_at IS NOT NULL THEN run_ms END AS run_ms,
               CAST(wait_ms AS bigint) AS wait_ms
        FROM job
        WHERE ended_at > :since AND ended_at <= :until
    ) AS ended
) AS counted
GROUP BY task, queue, status, run_bucket, wait_bucket
ORDER BY task, queue, status;
