-- name: actions
-- Each is looked up behind the one before it in audit_entry_action_idx: their number counts, not
-- the trail's length.
WITH RECURSIVE found AS (
    (SELECT action FROM audit_entry ORDER BY action LIMIT 1)
    UNION ALL
    SELECT (SELECT next.action FROM audit_entry AS next
            WHERE next.action > found.action ORDER BY next.action LIMIT 1)
    FROM found
    WHERE found.action IS NOT NULL
)
SELECT action FROM found WHERE action IS NOT NULL LIMIT 1000;

-- name: actors
-- As above, by audit_entry_actor_idx.
WITH RECURSIVE found AS (
    (SELECT split_part(actor, ' (key ', 1) AS person
     FROM audit_entry ORDER BY split_part(actor, ' (key ', 1) LIMIT 1)
    UNION ALL
    SELECT (SELECT split_part(next.actor, ' (key ', 1) FROM audit_entry AS next
            WHERE split_part(next.actor, ' (key ', 1) > found.person
            ORDER BY split_part(next.actor, ' (key ', 1) LIMIT 1)
    FROM found
    WHERE found.person IS NOT NULL
)
SELECT person FROM found WHERE person IS NOT NULL LIMIT 1000;
