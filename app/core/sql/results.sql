-- name: write
-- The first answer to a request stays: a second one, from an attempt that was thought lost, is dropped.
INSERT INTO result (batch_number, line, id, is_success, status_code, body, error, tries, last_tried_at)
SELECT CAST(:batch_number AS int), line, id, is_success, status_code, body, error, tries, last_tried_at
FROM unnest(
    CAST(:lines AS int[]), CAST(:ids AS text[]), CAST(:successes AS boolean[]),
    CAST(:status_codes AS smallint[]), CAST(:bodies AS text[]), CAST(:errors AS text[]),
    CAST(:tries AS smallint[]), CAST(:last_tried_ats AS timestamptz[])
) AS row (line, id, is_success, status_code, body, error, tries, last_tried_at)
ON CONFLICT (batch_number, line) DO NOTHING
RETURNING line;

-- name: count
-- In the transaction of `write`: no row means that this attempt no longer holds the batch.
UPDATE batch
SET completed = completed + :completed,
    failed = failed + :failed,
    input_tokens = input_tokens + :input_tokens,
    cached_tokens = cached_tokens + :cached_tokens,
    output_tokens = output_tokens + :output_tokens,
    reasoning_tokens = reasoning_tokens + :reasoning_tokens,
    first_result_at = coalesce(first_result_at, clock_timestamp()),
    last_result_at = clock_timestamp()
WHERE id = :batch_id AND attempt_token = :token
RETURNING status, completed, failed, total;

-- name: lines
-- Every request of a batch with its result, in input order; the caller reads it by a server-side cursor.
SELECT request.line, request.custom_id, result.id, result.is_success, result.status_code,
       result.body, result.error
FROM request
LEFT JOIN result ON result.batch_number = request.batch_number AND result.line = request.line
WHERE request.batch_number = :batch_number
ORDER BY request.line;

-- name: answered
-- A page of the results that exist now, in input order: all, or only the good or the bad ones.
SELECT request.line, request.custom_id, result.id, result.is_success, result.status_code,
       result.body, result.error
FROM result
JOIN request ON request.batch_number = result.batch_number AND request.line = result.line
WHERE result.batch_number = :batch_number AND result.line > :after_line
  AND (CAST(:is_success AS boolean) IS NULL OR result.is_success = :is_success)
ORDER BY result.line
LIMIT :limit;

-- name: failed
-- A page of the requests that failed, in input order.
SELECT result.id, request.custom_id, request.line, result.status_code, result.body, result.error,
       result.tries, result.last_tried_at, result.created_at
FROM result
JOIN request ON request.batch_number = result.batch_number AND request.line = result.line
WHERE result.batch_number = :batch_number AND result.line > :after_line AND NOT result.is_success
ORDER BY result.line
LIMIT :limit;
