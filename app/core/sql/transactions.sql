-- name: oldest
-- The transaction that is open for the longest time, of clients and prepared ones; no row, or no
-- time, where there is none that this role may see. `ending` ends it.
SELECT whose, which, began_at, date_part('epoch', clock_timestamp() - began_at) AS seconds, ending
FROM (
    SELECT coalesce(nullif(application_name, ''), usename, '?') AS whose,
           CAST(pid AS text) AS which, xact_start AS began_at,
           'SELECT pg_terminate_backend(' || pid || ');' AS ending
    FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend'
      AND pid <> pg_backend_pid()
    UNION ALL
    SELECT owner, 'PREPARED ' || quote_literal(gid), prepared,
           'ROLLBACK PREPARED ' || quote_literal(gid) || ';'
    FROM pg_prepared_xacts
    WHERE database = current_database()
) AS open
WHERE began_at IS NOT NULL
ORDER BY began_at
LIMIT 1;
