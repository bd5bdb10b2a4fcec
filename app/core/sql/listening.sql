-- Who listens to the change feed now. The record's triggers notify only while somebody does.

-- name: renew
-- Rows of processes that were killed go along.
WITH gone AS (
    DELETE FROM listener WHERE until < clock_timestamp() - interval '1 hour'
)
INSERT INTO listener (id, until)
VALUES (:id, clock_timestamp() + make_interval(secs => :seconds))
ON CONFLICT (id) DO UPDATE SET until = excluded.until;

-- name: tell
-- A notification holds up every other commit: there is none where nobody listens.
SELECT pg_notify('stoker_changes', :payload)
WHERE EXISTS (SELECT FROM listener WHERE until > clock_timestamp());

-- name: horizon
SELECT CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text);

-- name: has_passed
-- Whether every transaction before the horizon has ended.
SELECT pg_snapshot_xmin(pg_current_snapshot()) >= CAST(CAST(:horizon AS text) AS xid8);
