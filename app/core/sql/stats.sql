-- name: totals
SELECT status, in_progress_at IS NULL AS has_not_run, model, count(*) AS jobs,
       sum(total) AS requests, sum(completed) AS completed, sum(failed) AS failed,
       sum(input_tokens + output_tokens) AS tokens,
       sum(date_part('epoch', completed_at - in_progress_at)) AS seconds,
       count(completed_at - in_progress_at) AS timed,
       sum(input_tokens + output_tokens)
           FILTER (WHERE completed_at - in_progress_at > interval '0') AS timed_tokens
FROM batch
WHERE (CAST(:owner_id AS bigint) IS NULL OR owner_id = :owner_id)
  AND (CAST(:start_date AS timestamptz) IS NULL OR created_at >= :start_date)
  AND (CAST(:end_date AS timestamptz) IS NULL OR created_at <= :end_date)
GROUP BY 1, 2, 3;

-- name: timeline
-- Jobs created in each step of the range, empty steps included.
SELECT date_part('epoch', step)::bigint AS timestamp, coalesce(jobs, 0) AS jobs
FROM generate_series(
    CAST(:first AS timestamptz), CAST(:last AS timestamptz), make_interval(secs => :step_seconds)
) AS step
LEFT JOIN (
    SELECT date_bin(make_interval(secs => :step_seconds), created_at, :first) AS step,
           count(*) AS jobs
    FROM batch
    WHERE created_at >= :first
      AND created_at < CAST(:last AS timestamptz) + make_interval(secs => :step_seconds)
      AND (CAST(:owner_id AS bigint) IS NULL OR owner_id = :owner_id)
    GROUP BY 1
) AS counted USING (step)
ORDER BY step;
