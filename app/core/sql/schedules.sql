-- name: active_jobs
-- Of a schedule's latest jobs those that have not ended: how many wait, and the newest.
SELECT count(*) FILTER (WHERE job.status <> 'running') AS waiting, max(job.id) AS newest
FROM (
    SELECT job_id FROM schedule_firing
    WHERE schedule_id = :schedule_id AND job_id IS NOT NULL
    ORDER BY planned_at DESC
    LIMIT 100
) AS latest
JOIN job ON job.id = latest.job_id AND job.status IN ('pending', 'retrying', 'running');

-- name: firings
-- A page of a schedule's firings, latest first, each with what its job is doing now.
SELECT firing.schedule_id, firing.planned_at, firing.decided_at, firing.job_id,
       firing.planned_runs, firing.asked_by, firing.reason, known.status AS job_status,
       known.run_ms AS job_run_ms, known.ended_at AS job_ended_at, known.error_message AS job_error
FROM schedule_firing AS firing
LEFT JOIN LATERAL (
    SELECT status, run_ms, ended_at, error_message FROM job WHERE job.id = firing.job_id ORDER BY job.created_at DESC LIMIT 1
) AS known ON true
WHERE firing.schedule_id = :schedule_id
  AND (CAST(:before AS timestamptz) IS NULL OR firing.planned_at < :before)
ORDER BY firing.planned_at DESC
LIMIT :limit;

-- name: latest_firings
-- The latest firing of each of these schedules.
SELECT latest.*
FROM unnest(CAST(:ids AS bigint[])) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT firing.schedule_id, firing.planned_at, firing.decided_at, firing.job_id,
           firing.planned_runs, firing.asked_by, firing.reason, known.status AS job_status,
           known.run_ms AS job_run_ms, known.ended_at AS job_ended_at, known.error_message AS job_error
    FROM schedule_firing AS firing
    LEFT JOIN LATERAL (
        SELECT status, run_ms, ended_at, error_message FROM job WHERE job.id = firing.job_id ORDER BY job.created_at DESC LIMIT 1
    ) AS known ON true
    WHERE firing.schedule_id = wanted.id
    ORDER BY firing.planned_at DESC
    LIMIT 1
) AS latest;

-- name: periodic
-- Procrastinate's own periodic tasks, as far as its table knows them: the latest launch of each. Their
-- cron is in the app's code alone.
SELECT DISTINCT ON (defer.task_name, defer.periodic_id)
       defer.task_name AS task, defer.periodic_id,
       to_timestamp(defer.defer_timestamp) AS planned_at, defer.job_id,
       known.status AS job_status
FROM procrastinate_periodic_defers AS defer
LEFT JOIN LATERAL (
    SELECT status FROM job WHERE job.id = defer.job_id ORDER BY job.created_at DESC LIMIT 1
) AS known ON true
WHERE defer.defer_timestamp IS NOT NULL
ORDER BY defer.task_name, defer.periodic_id, defer.defer_timestamp DESC
LIMIT 1000;

-- name: tallies
-- Of each of these schedules' latest firings, :most at most: how many made a job, and for how many
-- planned times none was made.
SELECT wanted.id AS schedule_id, count(latest.job_id) AS fired,
       coalesce(sum(latest.planned_runs) FILTER (WHERE latest.job_id IS NULL), 0)::bigint AS skipped
FROM unnest(CAST(:ids AS bigint[])) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT firing.job_id, firing.planned_runs
    FROM schedule_firing AS firing
    WHERE firing.schedule_id = wanted.id
    ORDER BY firing.planned_at DESC
    LIMIT :most
) AS latest
GROUP BY wanted.id;
