-- How our own workers take a job: not from a paused queue, and not beyond the limits of what runs at
-- once. {schema} is the schema of Stoker's tables. Procrastinate's are found as its own functions find
-- them, by the caller's search_path. What another app's workers do is untouched.

-- How many jobs run in the queues whose names match a pattern, by the jobs' users.
CREATE OR REPLACE FUNCTION {schema}.stoker_running(patterns text[])
RETURNS TABLE (owner_name text, jobs bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT recorded.owner_name, count(*)
    FROM procrastinate_jobs AS queued
    LEFT JOIN {schema}.job AS recorded ON recorded.id = queued.id AND recorded.ended_at IS NULL
    WHERE queued.status = 'doing' AND queued.queue_name LIKE ANY (patterns)
    GROUP BY recorded.owner_name;
END
$$;

-- Fetch the next job of some queues for a worker, or a row of nulls. In queues that match `limited`,
-- `overall` jobs run at once at most, and `per_user` of one user; 0 is no limit. One statement, so that
-- a worker that is stopped in it holds nobody up.
--
-- Procrastinate's own function either makes its plan anew at each call, or keeps one that sorts all that
-- waits. Here each queue is read in its order by procrastinate_jobs_next_idx, and the plan is kept: what
-- would read or sort more than the next jobs is switched off.
CREATE OR REPLACE FUNCTION {schema}.stoker_fetch(
    asked text[], worker bigint, limited text[], per_user int, overall int
) RETURNS TABLE (
    id bigint, status text, task_name text, priority int, lock text, queueing_lock text, args jsonb,
    scheduled_at timestamptz, queue_name text, attempts int, worker_id bigint
) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan SET enable_sort = off SET enable_bitmapscan = off
SET enable_seqscan = off SET enable_hashjoin = off AS $$
#variable_conflict use_column
DECLARE
    is_limited boolean := (per_user > 0 OR overall > 0)
        AND EXISTS (SELECT FROM unnest(asked) AS name WHERE name LIKE ANY (limited));
    running bigint := 0;
    crowded text[];
    lost bigint[] := '{}';
    next_id bigint;
    from_queue text;
    fetched procrastinate_jobs;
BEGIN
    -- Two at once can't both take the last place; who pauses a queue waits for fetches that have begun.
    IF is_limited THEN
        PERFORM pg_advisory_xact_lock(4080002);
        SELECT coalesce(sum(jobs), 0),
               array_agg(owner_name) FILTER (WHERE jobs >= per_user AND owner_name IS NOT NULL)
        INTO running, crowded
        FROM {schema}.stoker_running(limited);
        IF per_user = 0 THEN
            crowded := NULL;
        END IF;
    ELSE
        PERFORM pg_advisory_xact_lock_shared(4080002);
    END IF;
    LOOP
        -- The first of each queue's first: as Procrastinate's own function, queue by queue and without
        -- the jobs of users whose limit is reached. A CASE, as that is asked of one job at a time.
        SELECT head.id, name INTO next_id, from_queue
        FROM unnest(asked) AS name
        CROSS JOIN LATERAL (
            SELECT jobs.id, jobs.priority
            FROM procrastinate_jobs AS jobs
            WHERE jobs.queue_name = name::varchar
              AND jobs.status = 'todo'
              AND (jobs.scheduled_at IS NULL OR jobs.scheduled_at <= now())
              AND jobs.id <> ALL (lost)
              AND CASE WHEN jobs.lock IS NULL THEN true ELSE NOT EXISTS (
                      SELECT FROM procrastinate_jobs AS other_jobs
                      WHERE other_jobs.lock = jobs.lock
                        AND (other_jobs.status = 'doing'
                             OR (other_jobs.status = 'todo'
                                 AND (other_jobs.priority > jobs.priority
                                      OR (other_jobs.priority = jobs.priority
                                          AND other_jobs.id < jobs.id))))
                  ) END
              AND CASE WHEN crowded IS NULL THEN true ELSE NOT EXISTS (
                      SELECT FROM {schema}.job AS recorded
                      WHERE recorded.id = jobs.id AND recorded.ended_at IS NULL
                        AND recorded.owner_name = ANY (crowded)
                        AND jobs.queue_name LIKE ANY (limited)
                  ) END
            ORDER BY jobs.priority DESC, jobs.id
            LIMIT 1
        ) AS head
        WHERE name NOT IN (SELECT queue FROM {schema}.queue_pause)
          AND NOT (overall > 0 AND running >= overall AND name LIKE ANY (limited))
        ORDER BY head.priority DESC, head.id
        LIMIT 1;
        EXIT WHEN next_id IS NULL;
        -- Another worker may be at it, or it was moved meanwhile: then it is as good as gone.
        UPDATE procrastinate_jobs AS taken
        SET status = 'doing', worker_id = worker
        WHERE taken.id = (
            SELECT jobs.id FROM procrastinate_jobs AS jobs
            WHERE jobs.id = next_id AND jobs.status = 'todo'
              AND jobs.queue_name = from_queue::varchar
              AND (jobs.scheduled_at IS NULL OR jobs.scheduled_at <= now())
            FOR UPDATE SKIP LOCKED
        )
        RETURNING taken.* INTO fetched;
        EXIT WHEN FOUND;
        lost := lost || next_id;
    END LOOP;
    RETURN QUERY SELECT
        fetched.id, fetched.status::text, fetched.task_name::text, fetched.priority, fetched.lock,
        fetched.queueing_lock, fetched.args, fetched.scheduled_at, fetched.queue_name::text, fetched.attempts,
        fetched.worker_id;
END
$$;
