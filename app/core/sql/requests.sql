-- name: duplicates
-- The second and later uses of a custom_id, with the line of the first.
SELECT line, custom_id, first_line
FROM (
    SELECT line, custom_id,
           row_number() OVER used AS use,
           first_value(line) OVER used AS first_line
    FROM request
    WHERE batch_number = :batch_number
    WINDOW used AS (PARTITION BY custom_id ORDER BY line)
) AS uses
WHERE use > 1
ORDER BY line
LIMIT :limit;

-- name: unanswered
-- What is still to be asked, in no order; the worker puts it in dispatch order (see worker.asks).
SELECT request.line, request.position, request.length, request.max_tokens, request.prefix_key,
       coalesce(suspect.deaths, 0)::int AS deaths
FROM request
LEFT JOIN suspect ON suspect.batch_number = request.batch_number AND suspect.line = request.line
LEFT JOIN result ON result.batch_number = request.batch_number AND result.line = request.line
WHERE request.batch_number = :batch_number AND result.line IS NULL;
