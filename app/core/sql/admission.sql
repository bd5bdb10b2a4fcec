-- name: running
-- How many jobs run in the queues that are limited, by their users.
SELECT owner_name, jobs FROM stoker_running(CAST(:limited AS text[]));
