-- name: claim
-- What is due, oldest first, unless its receiver has enough of our tries open already. Until
-- `claimed_until` the try is ours; the seconds beyond its own time-out are for recording it.
WITH due AS (
    SELECT id
    FROM webhook_delivery
    WHERE status = 'pending'
        AND next_try_at <= clock_timestamp()
        AND (claimed_until IS NULL OR claimed_until < clock_timestamp())
        AND host <> ALL(CAST(:busy_hosts AS text[]))
    ORDER BY next_try_at
    LIMIT :limit
    FOR UPDATE SKIP LOCKED
)
UPDATE webhook_delivery AS delivery
SET claimed_until = clock_timestamp()
    + make_interval(secs => coalesce((batch.webhook ->> 'timeout')::float8, 30) + 30)
FROM due, batch
WHERE delivery.id = due.id AND batch.id = delivery.batch_id
RETURNING delivery.id, delivery.type, delivery.url, delivery.host, delivery.payload,
          delivery.tries, batch.id AS batch_id, batch.number AS batch_number, coalesce(batch.job_id, 0) AS job_id,
          batch.webhook;

-- name: release
-- By the only process that delivers, when it begins: whoever held a claim before is gone.
UPDATE webhook_delivery
SET claimed_until = NULL
WHERE status = 'pending' AND claimed_until IS NOT NULL;
