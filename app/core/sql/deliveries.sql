-- name: claim
-- What is due, oldest first, unless its receiver has enough of our tries open already. Until
-- `claimed_until` the try is ours; the seconds beyond its own time-out are for recording it.
WITH due AS MATERIALIZED (
    SELECT id
    FROM webhook_delivery
    WHERE status = 'pending'
        AND next_try_at <= clock_timestamp()
        AND (claimed_until IS NULL OR claimed_until < clock_timestamp())
        AND host <> ALL(CAST(:busy_hosts AS text[]))
    ORDER BY next_try_at
    LIMIT :limit
    FOR UPDATE SKIP LOCKED
), wish AS (
    SELECT delivery.id, batch.number AS batch_number, batch.job_id,
           CASE WHEN delivery.is_test THEN 10
               ELSE coalesce((batch.webhook ->> 'timeout')::float8, 30) END AS timeout_seconds,
           -- What is sent once more at somebody's wish, and a test, are not repeated; what is no
           -- batch's own webhook is repeated for hours.
           CASE WHEN delivery.is_test OR delivery.retried_at IS NOT NULL THEN 0
               WHEN delivery.endpoint_id IS NULL AND delivery.batch_id IS NOT NULL
               THEN coalesce((batch.webhook ->> 'max_retries')::int, 3) END AS max_retries,
           array_remove(ARRAY[
               coalesce(endpoint.secret, nullif(batch.webhook ->> 'secret', '')),
               CASE WHEN endpoint.old_secret_until > clock_timestamp()
                   THEN endpoint.old_secret END
           ], NULL) AS secrets
    FROM due
    JOIN webhook_delivery AS delivery USING (id)
    LEFT JOIN webhook_endpoint AS endpoint ON endpoint.id = delivery.endpoint_id
    LEFT JOIN batch ON batch.id = delivery.batch_id AND delivery.endpoint_id IS NULL
    -- Never unsigned because the batch, and its webhook's secret with it, is gone.
    WHERE batch.id IS NOT NULL OR delivery.batch_id IS NULL OR delivery.endpoint_id IS NOT NULL
)
UPDATE webhook_delivery AS delivery
SET claimed_until = clock_timestamp() + make_interval(secs => wish.timeout_seconds + 30)
FROM wish
WHERE delivery.id = wish.id
RETURNING delivery.id, delivery.type, delivery.url, delivery.host, delivery.payload,
          delivery.tries, delivery.created_at, delivery.endpoint_id, delivery.batch_id,
          wish.batch_number, wish.job_id, wish.timeout_seconds, wish.max_retries, wish.secrets;

-- name: release
-- By the only process that delivers, when it begins: whoever held a claim before is gone.
UPDATE webhook_delivery
SET claimed_until = NULL
WHERE status = 'pending' AND claimed_until IS NOT NULL;

-- name: standings
-- One short walk down webhook_delivery_endpoint_idx for each endpoint, however much it was told.
SELECT asked.id AS endpoint_id,
       max(newest.created_at) AS last_at,
       (array_agg(newest.status ORDER BY newest.created_at DESC))[1] AS last_status,
       count(*) FILTER (WHERE newest.status <> 'pending' AND NOT newest.is_test) AS ended,
       count(*) FILTER (WHERE newest.status = 'dead' AND NOT newest.is_test) AS dead
FROM unnest(CAST(:endpoint_ids AS text[])) AS asked (id)
CROSS JOIN LATERAL (
    SELECT created_at, status, is_test
    FROM webhook_delivery
    WHERE endpoint_id = asked.id
    ORDER BY created_at DESC
    LIMIT :judged
) AS newest
GROUP BY asked.id;
