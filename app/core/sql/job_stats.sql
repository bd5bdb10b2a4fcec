-- name: usage
-- What the latest runs used, by type: bounded, however long the history is.
SELECT task, count(*) AS runs,
       100 * sum(cpu_seconds) / nullif(sum(seconds) FILTER (WHERE cpu_seconds IS NOT NULL), 0)
           AS cpu_percent,
       (avg(peak_memory_bytes) / 1048576)::float8 AS memory_mb,
       count(cpu_seconds) AS measured
FROM (
    SELECT task, cpu_seconds, peak_memory_bytes,
           date_part('epoch', ended_at - started_at) AS seconds
    FROM attempt
    WHERE ended_at IS NOT NULL
      AND (CAST(:owner_name AS text) IS NULL OR EXISTS (
          SELECT FROM job
          WHERE job.created_at = job_created_at AND job.id = job_id AND owner_name = :owner_name
      ))
    ORDER BY ended_at DESC
    LIMIT :most
) AS latest
GROUP BY task
ORDER BY task;
