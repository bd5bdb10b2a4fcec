-- What open streams are told of a job.
SELECT id, created_at, status, progress, message, scheduled_at, started_at, ended_at,
       error_message,
       CASE WHEN status IN ('completed', 'failed', 'cancelled') THEN result END AS result,
       greatest(created_at, attempt_started_at, ended_at, cancel_requested_at,
                abort_requested_at, cancel_acknowledged_at) AS updated_at,
       clock_timestamp() AS read_at
