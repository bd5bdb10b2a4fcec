-- name: count
SELECT count(*)
FROM job
CROSS JOIN LATERAL (
    SELECT nullif(coalesce(CAST(CAST(:by_task AS jsonb) ->> task AS float8), :seconds), 0) AS seconds
) AS ttl
WHERE ended_at < clock_timestamp() - make_interval(secs => :least_seconds)
  AND ended_at < clock_timestamp() - make_interval(secs => ttl.seconds)
  AND result IS NOT NULL AND result ->> '$stoker' IS DISTINCT FROM 'expired';

-- name: expire
-- The results of the next jobs, in the order of their ends, whose time is over. A task without a time
-- of its own has the general one; 0 is none.
WITH old AS (
    SELECT job.id, job.created_at, job.ended_at, job.result
    FROM job
    CROSS JOIN LATERAL (
        SELECT nullif(coalesce(CAST(CAST(:by_task AS jsonb) ->> task AS float8), :seconds), 0) AS seconds
    ) AS ttl
    WHERE (ended_at, id) > (:at, :id)
      AND ended_at < clock_timestamp() - make_interval(secs => :least_seconds)
      AND ended_at < clock_timestamp() - make_interval(secs => ttl.seconds)
      AND result IS NOT NULL AND result ->> '$stoker' IS DISTINCT FROM 'expired'
    ORDER BY ended_at, id
    LIMIT :limit
    FOR NO KEY UPDATE OF job SKIP LOCKED
), of_jobs AS (
    UPDATE job SET result = '{"$stoker": "expired"}', result_bytes = NULL
    FROM old WHERE job.created_at = old.created_at AND job.id = old.id
), of_attempts AS (
    UPDATE attempt SET result = '{"$stoker": "expired"}'
    FROM old
    WHERE attempt.job_created_at = old.created_at AND attempt.job_id = old.id
      AND attempt.result IS NOT NULL
)
SELECT id, ended_at,
       CASE WHEN result ->> '$stoker' = 'file' THEN result ->> 'name' END AS file_name
FROM old
ORDER BY ended_at, id;
