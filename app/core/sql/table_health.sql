-- name: tables
-- Our tables and Procrastinate's, each partition by itself: sizes from the file system, rows and clean-up from
-- the server's statistics; no table is read. A size is null of what was dropped meanwhile.
SELECT coalesce(whole.relname, part.relname) AS name, part.relname AS part,
       CAST(CASE WHEN stat.n_live_tup > 0 THEN stat.n_live_tup ELSE greatest(part.reltuples, 0) END AS bigint)
           AS rows,
       coalesce(stat.n_dead_tup, 0) AS dead_rows,
       coalesce(stat.n_mod_since_analyze, 0) AS changed_rows,
       coalesce(pg_total_relation_size(part.oid), 0) AS total_bytes,
       coalesce(pg_indexes_size(part.oid), 0) AS index_bytes,
       coalesce(pg_total_relation_size(nullif(part.reltoastrelid, 0)), 0) AS toast_bytes,
       greatest(stat.last_vacuum, stat.last_autovacuum) AS vacuumed_at,
       greatest(stat.last_analyze, stat.last_autoanalyze) AS analyzed_at
FROM pg_class AS part
LEFT JOIN pg_inherits ON inhrelid = part.oid
LEFT JOIN pg_class AS whole ON whole.oid = inhparent
LEFT JOIN pg_stat_all_tables AS stat ON stat.relid = part.oid
WHERE part.relkind = 'r'
  AND part.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('job'))
  AND (coalesce(whole.relname, part.relname) = ANY (CAST(:names AS name[]))
       OR part.relname LIKE 'procrastinate\_%')
ORDER BY part.relname;

-- name: database
-- The database as a whole. Transaction numbers run out at two thousand millions; vacuum freezes old ones long before.
SELECT current_database() AS name, pg_database_size(current_database()) AS bytes,
       CAST(age(datfrozenxid) AS bigint) AS transaction_age,
       (SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()) AS counted_since
FROM pg_database
WHERE datname = current_database();
