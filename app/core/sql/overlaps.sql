-- name: runs
-- The runs that share time with a window: one row a type, with the columns packed as Postgres sends
-- them. (Whole columns are read in a third of the time that as many rows take.)
SELECT task, string_agg(int8send(job_id), ''::bytea) AS jobs,
       string_agg(timestamptz_send(started_at), ''::bytea) AS starts,
       string_agg(timestamptz_send(coalesce(ended_at, :until)), ''::bytea) AS ends,
       string_agg(int8send(number), ''::bytea) AS numbers
FROM (
    SELECT task, job_id, number, started_at, ended_at
    FROM (
        SELECT task, job_id, job_created_at, number, started_at, ended_at FROM attempt
        WHERE ended_at > :since AND started_at < :until
        UNION ALL
        SELECT task, job_id, job_created_at, number, started_at, ended_at FROM attempt
        WHERE outcome IS NULL AND started_at < :until
    ) AS run
    WHERE (CAST(:task AS text) IS NULL OR task = :task)
      AND (CAST(:owner_name AS text) IS NULL OR EXISTS (
          SELECT FROM job
          WHERE job.created_at = job_created_at AND job.id = job_id AND owner_name = :owner_name
      ))
    LIMIT :most
) AS run
GROUP BY task
ORDER BY task;

-- name: beside
-- The runs that share time with one run of a job, those that share most first, among those that ended
-- next and those that are open. Their number is bounded: a run of long ago has many after it.
WITH ended AS (
    SELECT job_id, job_created_at, task, started_at, ended_at FROM attempt
    WHERE ended_at > :since AND job_created_at < :until
    ORDER BY ended_at
    LIMIT :most
), run AS (
    SELECT job_id, job_created_at, task, started_at, ended_at FROM ended WHERE started_at < :until
    UNION ALL
    SELECT job_id, job_created_at, task, started_at, NULL FROM attempt
    WHERE outcome IS NULL AND started_at < :until
)
SELECT job_id, task, bool_or(ended_at IS NULL) AS is_running,
       extract(epoch FROM sum(least(coalesce(ended_at, :until), :until)
                              - greatest(started_at, :since)))::float AS seconds,
       count(*) OVER () AS jobs,
       (SELECT count(*) FROM ended) >= :most AS is_cut
FROM run
WHERE job_id <> :job_id
  AND least(coalesce(ended_at, :until), :until) > greatest(started_at, :since)
  AND (CAST(:owner_name AS text) IS NULL OR EXISTS (
      SELECT FROM job
      WHERE job.created_at = job_created_at AND job.id = job_id AND owner_name = :owner_name
  ))
GROUP BY job_id, task
ORDER BY seconds DESC, job_id
LIMIT :limit;
