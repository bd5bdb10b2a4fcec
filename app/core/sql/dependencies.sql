-- name: lock
-- Jobs by their ids, as far as their owner may see them; none of them ends until the transaction does.
-- In the order in which ends come to them: what depends on another job has the higher id.
SELECT id, status
FROM job
WHERE id = ANY (CAST(:ids AS bigint[]))
  AND (CAST(:owner_name AS text) IS NULL OR owner_name = :owner_name)
ORDER BY id, created_at
FOR NO KEY UPDATE;

-- name: mark
-- Their ends concern others from now on.
UPDATE job SET is_needed = true
WHERE id = ANY (CAST(:ids AS bigint[])) AND status IN ('pending', 'retrying', 'running')
  AND NOT is_needed;

-- name: add
-- An id of long ago may come again, with what it needed then.
WITH edge AS (
    INSERT INTO job_dependency (job_id, needs_id, met_at)
    SELECT :job_id, needed, CASE WHEN NOT needed = ANY (CAST(:open AS bigint[])) THEN clock_timestamp() END
    FROM unnest(CAST(:ids AS bigint[])) AS needed
    ON CONFLICT (job_id, needs_id) DO UPDATE
    SET created_at = excluded.created_at, met_at = excluded.met_at
    RETURNING needs_id
)
SELECT count(*) FROM edge;

-- name: say
-- What a job waits for, as what it does now.
UPDATE job SET message = stoker_waits_for(id) WHERE id = :job_id AND status = 'pending';

-- name: around
-- The jobs that are connected with one, nearest first, as far as their owner may see them.
WITH RECURSIVE around (id) AS (
    SELECT CAST(:job_id AS bigint)
    UNION
    SELECT next.id
    FROM around
    CROSS JOIN LATERAL (
        SELECT needs_id AS id FROM job_dependency WHERE job_id = around.id
        UNION ALL
        SELECT job_id FROM job_dependency WHERE needs_id = around.id
    ) AS next
    WHERE EXISTS (
        SELECT FROM job
        WHERE job.id = next.id
          AND (CAST(:owner_name AS text) IS NULL OR job.owner_name = :owner_name)
    )
)
SELECT id FROM around LIMIT :limit;

-- name: nodes
SELECT DISTINCT ON (id) id, task, status FROM job
WHERE id = ANY (CAST(:ids AS bigint[]))
ORDER BY id, created_at DESC;

-- name: edges
SELECT needs_id, job_id FROM job_dependency
WHERE job_id = ANY (CAST(:ids AS bigint[])) AND needs_id = ANY (CAST(:ids AS bigint[]))
ORDER BY needs_id, job_id;
