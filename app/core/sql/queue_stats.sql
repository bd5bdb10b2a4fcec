-- name: last_cleanup
-- When the retention last ended, and what it removed then: its run takes table after table.
WITH last AS (
    SELECT max(ended_at) AS ended_at FROM retention_run
)
SELECT last.ended_at, coalesce(sum(rows_removed), 0)::bigint AS rows_removed
FROM last
LEFT JOIN retention_run ON retention_run.ended_at > last.ended_at - interval '10 minutes'
GROUP BY last.ended_at;
