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
-- Dispatch order: requests that share a prefix stand together, groups with the longest answers
-- first (their decoding overlaps the others' prefill), long answers first within a prefix.
WITH prefixes AS (
    SELECT substr(prefix_key::text, 1, 18) AS prefix, max(max_tokens) AS longest, count(*) AS size
    FROM request
    WHERE batch_number = :batch_number
    GROUP BY 1
)
SELECT request.line, request.position, request.length, coalesce(suspect.deaths, 0) AS deaths
FROM request
JOIN prefixes ON prefixes.prefix = substr(request.prefix_key::text, 1, 18)
LEFT JOIN suspect ON suspect.batch_number = request.batch_number AND suspect.line = request.line
LEFT JOIN result ON result.batch_number = request.batch_number AND result.line = request.line
WHERE request.batch_number = :batch_number AND result.line IS NULL
ORDER BY prefixes.longest DESC, prefixes.size DESC, request.prefix_key, request.max_tokens DESC,
         request.line;

-- name: suspect
-- These requests were in the engine when it died.
INSERT INTO suspect (batch_number, line, deaths)
SELECT CAST(:batch_number AS int), line, 1 FROM unnest(CAST(:lines AS int[])) AS row (line)
ON CONFLICT (batch_number, line) DO UPDATE SET deaths = suspect.deaths + 1
RETURNING line, deaths;
