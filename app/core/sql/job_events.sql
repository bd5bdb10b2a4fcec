-- name: ended
-- The jobs that ended in a window, each with an endpoint that hears of them: its owner's jobs, or
-- everybody's. None from before the endpoint was there.
SELECT endpoint.id AS endpoint_id, endpoint.url, endpoint.owner_id, job.id AS job_id, job.task,
       job.queue, job.status, job.error_type, job.error_message
FROM job
JOIN webhook_endpoint AS endpoint ON 'job.' || job.status = ANY (endpoint.event_types)
    AND endpoint.disabled_at IS NULL AND endpoint.created_at < job.ended_at
JOIN user_account AS owner ON owner.id = endpoint.owner_id AND owner.disabled_at IS NULL
WHERE job.ended_at > :since AND job.ended_at <= :until
  AND (owner.name = job.owner_name OR endpoint.hears_all AND owner.role = ANY (CAST(:operating AS text[])))
ORDER BY job.ended_at;
