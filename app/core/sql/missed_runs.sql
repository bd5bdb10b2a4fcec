-- name: late
-- The schedules whose planned time has come without anything having been done, and those whose latest run
-- has made a job that has not started: since when each was planned.
SELECT schedule.id AS schedule_id, schedule.name, schedule.jitter_seconds,
       CASE WHEN waiting.job_id IS NULL THEN schedule.next_planned_at ELSE waiting.planned_at END AS planned_at,
       waiting.job_id
FROM schedule
LEFT JOIN LATERAL (
    SELECT latest.planned_at, latest.job_id
    FROM (
        SELECT planned_at, job_id FROM schedule_firing
        WHERE schedule_id = schedule.id AND asked_by IS NULL
        ORDER BY planned_at DESC
        LIMIT 1
    ) AS latest
    JOIN job ON job.id = latest.job_id AND job.status = 'pending' AND job.started_at IS NULL
) AS waiting ON true
WHERE schedule.paused_at IS NULL
  AND (schedule.next_due_at < :now OR waiting.job_id IS NOT NULL)
  AND (CAST(:task AS text) IS NULL OR schedule.task = :task)
  AND (CAST(:queue AS text) IS NULL
       OR coalesce(schedule.queue = :queue, schedule.task = ANY (CAST(:tasks_of_queue AS text[]))))
ORDER BY planned_at
LIMIT 1000;

-- name: missed
-- The planned times that made no job in a window, or made it a minute or more too late. What the policy of
-- its schedule for overlaps forbids was not missed.
SELECT coalesce(sum(firing.planned_runs), 0)::bigint AS runs, min(firing.planned_at) AS since,
       (array_agg(schedule.name ORDER BY firing.planned_at DESC))[1] AS name,
       (array_agg(firing.job_id ORDER BY firing.planned_at DESC) FILTER (WHERE firing.job_id IS NOT NULL))[1]
           AS job_id
FROM schedule_firing AS firing
JOIN schedule ON schedule.id = firing.schedule_id
WHERE firing.decided_at > :since AND firing.decided_at <= :now AND firing.asked_by IS NULL
  AND CASE WHEN firing.job_id IS NULL THEN firing.reason NOT LIKE ALL (CAST(:by_policy AS text[]))
      ELSE firing.decided_at
           > firing.planned_at + (:late_seconds + schedule.jitter_seconds) * interval '1 second' END
  AND (CAST(:task AS text) IS NULL OR schedule.task = :task)
  AND (CAST(:queue AS text) IS NULL
       OR coalesce(schedule.queue = :queue, schedule.task = ANY (CAST(:tasks_of_queue AS text[]))));
