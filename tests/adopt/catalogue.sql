-- Everything that somebody has made in the database, one line each, with who may do what.
SELECT 'schema ' || nspname || ' ' || coalesce(nspacl::text, '') FROM pg_namespace
WHERE nspname NOT LIKE 'pg\_%' AND nspname <> 'information_schema'
UNION ALL
SELECT 'relation ' || c.oid || ' ' || n.nspname || '.' || relname || ' ' || relkind::text || ' '
    || coalesce(relacl::text, '') || ' ' || coalesce(reloptions::text, '')
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
WHERE n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
UNION ALL
SELECT 'column ' || attrelid::regclass || '.' || attname || ' ' || format_type(atttypid, atttypmod)
FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid JOIN pg_namespace AS n ON n.oid = relnamespace
WHERE n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema' AND attnum > 0
UNION ALL
SELECT 'constraint ' || c.oid || ' ' || conname || ' ' || pg_get_constraintdef(c.oid)
FROM pg_constraint AS c JOIN pg_namespace AS n ON n.oid = connamespace
WHERE n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
UNION ALL
SELECT 'trigger ' || oid || ' ' || pg_get_triggerdef(oid) FROM pg_trigger
UNION ALL
SELECT 'type ' || t.oid || ' ' || typname
FROM pg_type AS t JOIN pg_namespace AS n ON n.oid = typnamespace
WHERE n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
UNION ALL
SELECT 'function ' || p.oid || ' ' || p.oid::regprocedure || ' ' || coalesce(proacl::text, '') || ' '
    || coalesce(proconfig::text, '')
FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = pronamespace
WHERE n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
UNION ALL
SELECT 'extension ' || extname FROM pg_extension
UNION ALL
SELECT 'description ' || objoid || ' ' || description FROM pg_description WHERE objoid >= 16384
UNION ALL
SELECT 'default rights ' || oid FROM pg_default_acl
UNION ALL
SELECT 'statistics ' || oid FROM pg_statistic_ext
ORDER BY 1
