-- name: note_deaths
-- These requests were in the engine when it died.
INSERT INTO suspect (batch_number, line, deaths)
SELECT CAST(:batch_number AS int), line, 1 FROM unnest(CAST(:lines AS int[])) AS row (line)
ON CONFLICT (batch_number, line) DO UPDATE SET deaths = suspect.deaths + 1, sent_by = NULL;

-- name: note_sent
-- Nothing when another attempt holds the batch.
INSERT INTO suspect (batch_number, line, deaths, sent_by)
SELECT batch.number, CAST(:line AS int), 0, CAST(:token AS uuid)
FROM batch
WHERE batch.number = :batch_number AND batch.attempt_token = :token
ON CONFLICT (batch_number, line) DO UPDATE SET sent_by = excluded.sent_by;

-- name: forget
-- Who was answered is no suspect any more; who failed for its deaths stays, to be counted.
DELETE FROM suspect
WHERE batch_number = :batch_number AND line = ANY (CAST(:lines AS int[])) AND deaths <= :most_deaths;

-- name: count_lost
UPDATE suspect
SET deaths = suspect.deaths + EXISTS (
        SELECT FROM attempt
        WHERE attempt.job_id = :job_id AND attempt.token = suspect.sent_by
          AND attempt.outcome = 'lost'
    )::int,
    sent_by = NULL
WHERE suspect.batch_number = :batch_number AND suspect.sent_by <> :token;

-- name: count_sent
SELECT count(*) FROM batch
JOIN suspect ON suspect.batch_number = batch.number
WHERE batch.job_id = :job_id AND suspect.sent_by = :token;

-- name: count_deadly
SELECT count(*) FROM batch
JOIN suspect ON suspect.batch_number = batch.number
WHERE batch.job_id = :job_id AND suspect.deaths > :most_deaths;
