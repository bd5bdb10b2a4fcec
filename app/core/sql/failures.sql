-- name: groups
-- The failed jobs that ended in a window, by what went wrong and by steps of it. They are read from
-- the index on when those that failed ended, the latest first, :most of them.
WITH failed AS MATERIALIZED (
    SELECT id, task, error_type, error_message, created_at, ended_at FROM job
    WHERE status = 'failed' AND ended_at >= :since AND ended_at < :until AND created_at < :until
      AND (CAST(:owner_name AS text) IS NULL OR owner_name = :owner_name)
      AND (CAST(:task AS text) IS NULL OR task = :task)
    ORDER BY ended_at DESC
    LIMIT :most
), looked AS (
    SELECT count(*) AS looked_at, min(ended_at) AS back_to FROM failed
), marked AS (
    SELECT task, error_type, id, error_message, ended_at,
           -- As app.core.failures has it, to find the jobs of a group again.
           left(regexp_replace(regexp_replace(split_part(ltrim(coalesce(error_message, '')), chr(10), 1),
               '[0-9a-fA-F]{8,}', '#', 'g'), '[0-9]+', '#', 'g'), 200) AS shape
    FROM failed
)
SELECT looked_at, back_to, task, error_type, shape, step, jobs, first_at, last_at, job_id, message
FROM looked LEFT JOIN (
    SELECT task, coalesce(error_type, '') AS error_type, shape,
           floor(extract(epoch FROM ended_at - CAST(:origin AS timestamptz))
                 / CAST(:step AS double precision))::int AS step,
           count(*) AS jobs, min(ended_at) AS first_at, max(ended_at) AS last_at,
           (array_agg(id ORDER BY ended_at DESC))[1] AS job_id,
           (array_agg(left(error_message, 1000) ORDER BY ended_at DESC))[1] AS message
    FROM marked
    GROUP BY 1, 2, 3, 4
) AS grouped ON true;
