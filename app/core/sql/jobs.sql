-- name: name
-- Whose job it is, which model it is for, how long it may run; what is null stays as it was.
WITH named AS (
    UPDATE job
    SET owner_name = coalesce(CAST(:owner_name AS text), owner_name),
        model = coalesce(CAST(:model AS text), model),
        timeout_seconds = coalesce(CAST(:timeout_seconds AS float8), timeout_seconds)
    WHERE id = :job_id
    RETURNING id, created_at, task, owner_name, arguments
)
UPDATE job_search
SET words = stoker_words(named.id, named.task, named.owner_name, named.arguments)
FROM named
WHERE job_search.job_created_at = named.created_at AND job_search.job_id = named.id
  AND CAST(:owner_name AS text) IS NOT NULL;

-- name: orphaned_batches
-- The open batches that a cancelled job of a built-in task has made.
SELECT batch.id
FROM batch
JOIN job ON job.id = CAST(substring(batch.idempotency_key FROM '^made by job (\d{1,18})$') AS bigint)
WHERE batch.status IN ('validating', 'in_progress', 'finalizing', 'cancelling')  -- as its index
  AND batch.status IN ('validating', 'in_progress')
  AND job.status = 'cancelled';
