-- Everything Procrastinate's schema consists of, one line each, apart from the columns' order, the
-- white space of functions' bodies and what is ours.
SELECT 'column ' || c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
    || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END
    || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '') || ' ' || a.attidentity::text
FROM pg_attribute AS a
JOIN pg_class AS c ON c.oid = a.attrelid AND c.relkind IN ('r', 'c')
LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE c.relname LIKE 'procrastinate_%' AND c.relname <> 'procrastinate_migration'
    AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT 'constraint ' || conrelid::regclass || '.' || conname || ' ' || pg_get_constraintdef(oid)
FROM pg_constraint
WHERE conrelid::regclass::text LIKE 'procrastinate_%'
    AND conrelid <> 'procrastinate_migration'::regclass AND contype <> 'n'
UNION ALL
SELECT 'index ' || pg_get_indexdef(indexrelid)
FROM pg_index
WHERE indrelid::regclass::text LIKE 'procrastinate_%'
    AND indrelid <> 'procrastinate_migration'::regclass
UNION ALL
SELECT 'trigger ' || pg_get_triggerdef(oid)
FROM pg_trigger
WHERE tgrelid::regclass::text LIKE 'procrastinate_%' AND NOT tgisinternal
UNION ALL
SELECT 'enum ' || enumtypid::regtype || ' ' || string_agg(enumlabel, ',' ORDER BY enumsortorder)
FROM pg_enum
WHERE enumtypid::regtype::text LIKE 'procrastinate_%'
GROUP BY enumtypid
UNION ALL
SELECT 'function ' || oid::regprocedure || ' returns ' || pg_get_function_result(oid)
    || coalesce(' ' || proconfig::text, '') || ' ' || regexp_replace(prosrc, '\s+', ' ', 'g')
FROM pg_proc
WHERE proname LIKE 'procrastinate_%'
UNION ALL
SELECT 'options ' || relname || ' ' || reloptions::text
FROM pg_class
WHERE relname LIKE 'procrastinate_%' AND reloptions IS NOT NULL
ORDER BY 1
