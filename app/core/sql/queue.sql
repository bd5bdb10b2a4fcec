-- name: open_batches
-- Every batch that is not final, in the order of arrival within a priority (partial index batch_open_idx).
SELECT batch.id, batch.number, batch.model, batch.priority, batch.status, batch.created_at,
       batch.validated_at, batch.in_progress_at, batch.first_result_at, batch.last_result_at,
       batch.total, batch.completed, batch.failed, batch.estimated_tokens,
       batch.input_tokens, batch.output_tokens, batch.owner_id, user_account.name AS owner_name,
       EXISTS (
           SELECT FROM attempt
           WHERE attempt.token = batch.attempt_token AND attempt.outcome IS NULL
       ) AS is_held
FROM batch
JOIN user_account ON user_account.id = batch.owner_id
WHERE batch.status IN ('validating', 'in_progress', 'finalizing', 'cancelling')
ORDER BY batch.priority DESC, batch.number
LIMIT :limit;

-- name: waiting_models
-- Batches whose job stands in a model's queue and would be fetched from there, one row for each model.
SELECT batch.model, count(*) AS batches, max(batch.priority) AS priority,
       (array_agg(batch.number ORDER BY batch.priority DESC, batch.number))[1] AS number,
       min(batch.validated_at) AS oldest_at
FROM batch
JOIN procrastinate_jobs AS job ON job.id = batch.job_id
JOIN user_account ON user_account.id = batch.owner_id
WHERE batch.status IN ('in_progress', 'cancelling')
  AND job.status = 'todo' AND job.queue_name = 'model:' || batch.model
  AND job.queue_name NOT IN (SELECT queue FROM queue_pause)
  AND user_account.name <> ALL (CAST(:crowded AS text[]))
GROUP BY batch.model;

-- name: first_arriving
-- The best-ranked batch that is on its way to a model's queue, unless that takes unusually long.
SELECT batch.priority, batch.number
FROM batch
JOIN procrastinate_jobs AS job ON job.id = batch.job_id
WHERE batch.status IN ('validating', 'in_progress')
  AND job.status IN ('todo', 'doing') AND job.queue_name = :queue
  AND batch.created_at > clock_timestamp() - make_interval(secs => :seconds)
  AND :queue NOT IN (SELECT queue FROM queue_pause)
ORDER BY batch.priority DESC, batch.number
LIMIT 1;

-- name: model_speeds
-- Tokens and requests per second of the last batches of each model: what an estimate rests on.
SELECT model,
       sum(input_tokens + output_tokens) / greatest(sum(seconds), 0.001) AS tokens_per_second,
       sum(input_tokens + output_tokens)::float8 / greatest(sum(estimated_tokens), 1) AS token_ratio
FROM (
    SELECT model, input_tokens, output_tokens, estimated_tokens,
           date_part('epoch', completed_at - in_progress_at) AS seconds,
           row_number() OVER (PARTITION BY model ORDER BY created_at DESC) AS recency
    FROM (
        SELECT * FROM batch WHERE status = 'completed' ORDER BY created_at DESC, number DESC LIMIT 200
    ) AS latest
    WHERE in_progress_at IS NOT NULL
) AS recent
WHERE recency <= 5
GROUP BY model;
