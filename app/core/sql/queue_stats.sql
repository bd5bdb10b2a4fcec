-- name: last_cleanup
-- When the retention last ended, and what it removed then: its run takes table after table, and its number is
-- the id of its first row.
WITH last AS (
    SELECT coalesce(run_id, id) AS number, ended_at
    FROM retention_run
    WHERE ended_at IS NOT NULL
    ORDER BY id DESC
    LIMIT 1
)
SELECT max(last.ended_at) AS ended_at, coalesce(sum(part.rows_removed), 0)::bigint AS rows_removed
FROM last
JOIN retention_run AS part ON coalesce(part.run_id, part.id) = last.number;
