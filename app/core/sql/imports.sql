-- name: known_jobs
SELECT id, created_at FROM job WHERE id = ANY(CAST(:ids AS bigint[]));

-- name: last_given_id
-- The last id that the queue has given: none up to it will be given again.
SELECT pg_sequence_last_value(
    CAST(pg_get_serial_sequence('procrastinate_jobs', 'id') AS regclass)
);

-- name: add_jobs
WITH added AS (
    INSERT INTO job (
        id, created_at, created_by, task, queue, priority, lock, queueing_lock, arguments,
        scheduled_at, owner_name, model, retried_from, max_attempts, timeout_seconds, status, attempts,
        cancel_requested_at, abort_requested_at, cancel_acknowledged_at, progress, items_done,
        items_total, message, worker_name, started_at,
        attempt_started_at, ended_at, run_ms, wait_ms, result, result_bytes, error_type,
        error_message
    )
    SELECT id, created_at, created_by, task, queue, priority, lock, queueing_lock, arguments,
        scheduled_at, owner_name, model, retried_from, max_attempts, timeout_seconds, status, attempts,
        cancel_requested_at, abort_requested_at, cancel_acknowledged_at, progress, items_done,
        items_total, message, worker_name, started_at,
        attempt_started_at, ended_at, run_ms, wait_ms, nullif(result, 'null'), result_bytes,
        error_type, error_message
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS row (
        id bigint, created_at timestamptz, created_by text, task text, queue text, priority int,
        lock text, queueing_lock text, arguments jsonb, scheduled_at timestamptz, owner_name text,
        model text, retried_from bigint, max_attempts int, timeout_seconds float8, status text, attempts int,
        cancel_requested_at timestamptz, abort_requested_at timestamptz,
        cancel_acknowledged_at timestamptz, progress smallint, items_done bigint, items_total bigint,
        message text, worker_name text, started_at timestamptz, attempt_started_at timestamptz,
        ended_at timestamptz, run_ms bigint, wait_ms bigint, result jsonb, result_bytes bigint,
        error_type text, error_message text
    )
    ON CONFLICT DO NOTHING
    RETURNING id, created_at, task, owner_name, arguments, ended_at, message, error_type, error_message
), found AS (
    INSERT INTO job_search (job_id, job_created_at, words)
    SELECT id, created_at, concat_ws(
        ' ', stoker_words(id, task, owner_name, arguments), lower(left(message, 1000)),
        lower(left(concat_ws(' ', error_type, error_message), 2000))
    )
    FROM added
    ON CONFLICT DO NOTHING
)
INSERT INTO dirty_hour (hour)
SELECT DISTINCT date_trunc('hour', ended_at, 'UTC') FROM added WHERE ended_at IS NOT NULL;

-- name: add_event
-- An open one beside an open one of the same kind is added as reviewed.
WITH added AS (
    INSERT INTO incident (
        source, risk_level, fingerprint, text, job_id, details, occurrences, opened_at,
        last_seen_at, reviewed_at, reviewed_by, verdict, summary
    )
    SELECT source, risk_level, fingerprint, text,
           (SELECT job.id FROM job WHERE job.id = row.job_id AND job.task = row.details ->> 'task' LIMIT 1),
           details, occurrences, opened_at, last_seen_at,
           CASE WHEN is_doubled THEN coalesce(reviewed_at, last_seen_at) ELSE reviewed_at END,
           CASE WHEN is_doubled THEN coalesce(reviewed_by, 'import') ELSE reviewed_by END,
           verdict, summary
    FROM jsonb_to_record(CAST(:row AS jsonb)) AS row (
        source text, risk_level text, fingerprint text, text text, job_id bigint, details jsonb,
        occurrences int, opened_at timestamptz, last_seen_at timestamptz, reviewed_at timestamptz,
        reviewed_by text, verdict text, summary text
    )
    CROSS JOIN LATERAL (
        SELECT EXISTS (
            SELECT FROM incident
            WHERE incident.fingerprint = row.fingerprint AND incident.reviewed_at IS NULL
        )
    ) AS open (is_doubled)
    WHERE NOT EXISTS (
        SELECT FROM incident
        WHERE incident.opened_at = row.opened_at AND incident.fingerprint = row.fingerprint
    )
    RETURNING 1
)
SELECT count(*) FROM added;
