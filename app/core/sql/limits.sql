-- name: queued
-- What a user has waiting: batches of which no request was asked yet, tasks that no worker has
-- fetched, those for later among them; and the bytes of the input files of open batches.
SELECT (
           SELECT count(*) FROM batch
           WHERE status IN ('validating', 'in_progress', 'finalizing', 'cancelling')  -- as its index
             AND status IN ('validating', 'in_progress')
             AND owner_id = :owner_id AND in_progress_at IS NULL
       ) + (
           SELECT count(*)
           FROM (
               SELECT id FROM procrastinate_jobs WHERE status = 'todo' AND queue_name = :tasks
               UNION ALL
               SELECT id FROM waiting_job WHERE queue = :tasks
           ) AS waiting
           JOIN job ON job.id = waiting.id AND job.ended_at IS NULL
           JOIN user_account ON user_account.name = job.owner_name
           WHERE user_account.id = :owner_id
       ) AS jobs,
       (
           SELECT coalesce(sum(file.bytes), 0)::bigint
           FROM batch JOIN file ON file.id = batch.input_file_id
           WHERE batch.status IN ('validating', 'in_progress', 'finalizing', 'cancelling')
             AND batch.owner_id = :owner_id
       ) AS bytes;
