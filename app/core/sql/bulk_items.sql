-- What an action on many jobs came to, job by job.

-- name: record
-- One that was written before stays as it is.
INSERT INTO bulk_item (bulk_id, job_id, task, kind, reason, found_id, found_created_at)
SELECT :bulk_id, :job_id, :task, CAST(:kind AS text), CAST(:reason AS text), found.id,
       found.created_at
FROM (VALUES (1)) AS one (n)
LEFT JOIN LATERAL (
    SELECT id, created_at FROM job WHERE id = CAST(:found_id AS bigint)
    ORDER BY created_at DESC
    LIMIT 1
) AS found ON true
ON CONFLICT (bulk_id, job_id) DO NOTHING;

-- name: tally
-- How many were done (kind is null), and skipped for each kind of reason.
SELECT kind, count(*) AS jobs, count(found_id) AS found
FROM bulk_item
WHERE bulk_id = :bulk_id
GROUP BY kind
ORDER BY kind IS NULL DESC, count(*) DESC, kind;

-- name: counts
-- The same of several actions, in short.
SELECT bulk_id, count(*) FILTER (WHERE kind IS NULL) AS done,
       count(*) FILTER (WHERE kind IS NOT NULL) AS skipped
FROM bulk_item
WHERE bulk_id = ANY (CAST(:ids AS bigint[]))
GROUP BY bulk_id;
