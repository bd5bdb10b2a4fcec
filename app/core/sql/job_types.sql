-- name: seen
-- The types of all jobs by name, :most at most: from one to the next along the index, instead of over all jobs.
WITH RECURSIVE walk AS (
    SELECT min(task) AS task FROM job
    UNION ALL
    SELECT (SELECT min(task) FROM job WHERE job.task > walk.task)
    FROM walk
    WHERE walk.task IS NOT NULL
)
SELECT task FROM walk WHERE task IS NOT NULL LIMIT :most;
