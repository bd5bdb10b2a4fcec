-- What the triggers on Procrastinate's tables (triggers.sql) do to fill the record. {schema} is the schema
-- of Stoker's tables, {queue} that of Procrastinate's.
--
-- They run with the rights of who installed them: a program whose jobs are recorded needs none on
-- our tables. clock_timestamp() everywhere: a transaction may hold many changes of one job.
--
-- An id may come again, after a TRUNCATE ... RESTART IDENTITY: it means the job that is open, else the
-- newest.

-- What a list finds a job by, lower case and bounded.
CREATE OR REPLACE FUNCTION {schema}.stoker_words(
    id bigint, task text, owner_name text, arguments jsonb
) RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT lower(concat_ws(' ', id, task, owner_name, (
        SELECT left(string_agg(value #>> '{}', ' '), 4000)
        FROM jsonb_path_query(arguments, 'strict $.** ? (@.type() != "object" && @.type() != "array")') AS value
    )))
$$;

-- Tell whoever listens that something changed; no id: several did. A notification holds up every other
-- commit, so there is none where nobody listens (app/core/listening.py). Only the functions below call
-- this, and theirs is its search_path: to set it again costs more than the rest.
CREATE OR REPLACE FUNCTION {schema}.stoker_tell(noun text, id bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM {schema}.listener WHERE until > clock_timestamp()) THEN
        PERFORM pg_notify(
            'stoker_changes', '{"noun":"' || noun || '","id":"' || coalesce(id::text, '') || '"}');
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION {schema}.stoker_deferred() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    -- A job that waited in our own table has its record already.
    IF current_setting('stoker.is_due', true) = 'on' THEN
        RETURN NULL;
    END IF;
    WITH recorded AS (
        INSERT INTO {schema}.job
            (id, created_by, task, queue, priority, lock, queueing_lock, arguments, scheduled_at,
             owner_name, model)
        SELECT id, coalesce(nullif(current_setting('application_name'), ''), session_user), task_name, queue_name, priority,
               lock, queueing_lock, args, scheduled_at, left(args ->> 'user', 200),
               left(args ->> 'model', 200)  -- whatever an app calls so: an index has its limit
        FROM deferred
        RETURNING id, created_at, task, owner_name, arguments
    )
    INSERT INTO {schema}.job_search (job_id, job_created_at, words)
    SELECT id, created_at, {schema}.stoker_words(id, task, owner_name, arguments) FROM recorded;
    PERFORM {schema}.stoker_tell('job', NULL);
    RETURN NULL;
END
$$;

-- This runs at each fetch and each end of a job, so what it says most is said in few statements.
-- Their plans are told to be generic, or they would be made anew in each fetch, whose own function
-- may ask for that.
CREATE OR REPLACE FUNCTION {schema}.stoker_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    moment timestamptz := clock_timestamp();
    before record;
    who record;
    now_is text;
    ended text;
    actor text := coalesce(
        nullif(current_setting('stoker.actor', true), ''),
        nullif(current_setting('application_name'), ''), session_user
    );
    why text := nullif(current_setting('stoker.reason', true), '');
BEGIN
    -- Here and not as the trigger's WHEN: Procrastinate's migrations may alter these columns.
    IF NEW.status = OLD.status
       AND NEW.abort_requested = OLD.abort_requested
       AND NEW.scheduled_at IS NOT DISTINCT FROM OLD.scheduled_at
       AND NEW.priority = OLD.priority
       AND NEW.queue_name = OLD.queue_name
       AND NEW.lock IS NOT DISTINCT FROM OLD.lock
       AND NEW.queueing_lock IS NOT DISTINCT FROM OLD.queueing_lock
       AND NEW.args = OLD.args THEN
        RETURN NULL;
    END IF;

    -- What nearly every job goes through, in few statements. What they do not find is left to the
    -- general way below.
    IF OLD.status = 'todo' AND NEW.status = 'doing' THEN
        SELECT * INTO who FROM {schema}.queue_worker WHERE id = NEW.worker_id;
        WITH begun AS (
            UPDATE {schema}.job
            SET status = 'running', attempts = NEW.attempts + 1, queue = NEW.queue_name,
                worker_name = coalesce(who.name, worker_name),
                max_attempts = coalesce((who.max_attempts ->> NEW.task_name)::int, max_attempts),
                started_at = coalesce(started_at, moment), attempt_started_at = moment,
                wait_ms = coalesce(wait_ms, greatest(0, 1000 * date_part(
                    'epoch', moment - greatest(created_at, coalesce(NEW.scheduled_at, created_at)))))
            WHERE id = NEW.id AND ended_at IS NULL
            RETURNING created_at, started_at = moment AS is_first
        ), opened AS (
            INSERT INTO {schema}.attempt
                (job_id, job_created_at, number, task, queue, queue_worker_id, worker_id,
                 worker_name, host, pid, started_at)
            SELECT NEW.id, created_at, NEW.attempts + 1, NEW.task_name, NEW.queue_name,
                   NEW.worker_id, who.worker_id, who.name, who.host, who.pid, moment
            FROM begun WHERE is_first
        )
        INSERT INTO {schema}.job_transition
            (job_id, job_created_at, at, from_status, to_status, triggered_by, details)
        SELECT NEW.id, created_at, moment, 'pending', 'running', actor,
               coalesce(why, 'attempt ' || (NEW.attempts + 1))
        FROM begun WHERE is_first;
        IF FOUND THEN
            PERFORM {schema}.stoker_tell('job', NEW.id);
            RETURN NULL;
        END IF;
    ELSIF OLD.status = 'doing' AND NEW.status IN ('succeeded', 'failed', 'aborted') THEN
        -- Procrastinate fails a job that was to be retried and is asked to stop.
        now_is := CASE WHEN NEW.status = 'succeeded' THEN 'completed'
            WHEN NEW.status = 'failed' AND NOT NEW.abort_requested THEN 'failed'
            ELSE 'cancelled' END;
        WITH done AS (
            UPDATE {schema}.job
            SET status = now_is, ended_at = moment,
                run_ms = run_ms + greatest(0, 1000 * date_part('epoch', moment - attempt_started_at)),
                progress = CASE WHEN now_is = 'completed' THEN 100 ELSE progress END,
                error_type = CASE WHEN now_is <> 'completed' THEN error_type END,
                error_message = CASE WHEN now_is <> 'completed' THEN error_message END
            WHERE id = NEW.id AND ended_at IS NULL
            RETURNING created_at, message
        ), said AS (
            INSERT INTO {schema}.job_transition
                (job_id, job_created_at, at, from_status, to_status, triggered_by, details)
            SELECT NEW.id, created_at, moment, 'running', now_is, actor, why FROM done
        )
        SELECT created_at, message INTO before FROM done;
        IF FOUND THEN
            UPDATE {schema}.attempt SET ended_at = moment, outcome = now_is
            WHERE job_id = NEW.id AND number = OLD.attempts + 1
              AND job_created_at = before.created_at AND outcome IS NULL;
            IF NOT FOUND THEN
                PERFORM {schema}.stoker_close(NEW.id, before.created_at, moment, now_is);
            END IF;
            IF before.message IS NOT NULL THEN
                UPDATE {schema}.job_search
                SET words = left(words, 8000) || ' ' || lower(left(before.message, 1000))
                WHERE job_created_at = before.created_at AND job_id = NEW.id;
            END IF;
            PERFORM {schema}.stoker_tell('job', NEW.id);
            RETURN NULL;
        END IF;
    END IF;

    -- And all else: old jobs, later attempts, retries, cancellations, changes by hand.
    SELECT created_at, status, ended_at, message INTO before
    FROM {schema}.job WHERE id = NEW.id ORDER BY ended_at IS NULL DESC, created_at DESC LIMIT 1;
    IF NOT FOUND THEN
        RETURN NULL;  -- older than the record
    END IF;
    IF NEW.status = OLD.status THEN
        IF NEW.abort_requested AND NOT OLD.abort_requested THEN
            INSERT INTO {schema}.job_transition
                (job_id, job_created_at, at, from_status, to_status, triggered_by, details)
            VALUES (NEW.id, before.created_at, moment, before.status, before.status, actor,
                    coalesce(why, 'abort requested'));
        END IF;
        UPDATE {schema}.job
        SET queue = NEW.queue_name, priority = NEW.priority, lock = NEW.lock,
            queueing_lock = NEW.queueing_lock, scheduled_at = NEW.scheduled_at,
            arguments = NEW.args,
            cancel_requested_at = CASE
                WHEN NEW.abort_requested THEN coalesce(cancel_requested_at, moment)
            END
        WHERE created_at = before.created_at AND id = NEW.id;
        PERFORM {schema}.stoker_tell('job', NEW.id);
        RETURN NULL;
    END IF;

    IF NEW.status = 'doing' THEN
        now_is := 'running';
        SELECT * INTO who FROM {schema}.queue_worker WHERE id = NEW.worker_id;
        -- The number is used twice when a job was put back by hand, without being counted.
        INSERT INTO {schema}.attempt
            (job_id, job_created_at, number, task, queue, queue_worker_id, worker_id, worker_name,
             host, pid, started_at)
        VALUES (NEW.id, before.created_at, NEW.attempts + 1, NEW.task_name, NEW.queue_name,
                NEW.worker_id, who.worker_id, who.name, who.host, who.pid, moment)
        ON CONFLICT (job_id, number, job_created_at) DO UPDATE
        SET token = gen_random_uuid(), queue_worker_id = excluded.queue_worker_id,
            worker_id = excluded.worker_id, worker_name = excluded.worker_name,
            host = excluded.host, pid = excluded.pid, started_at = moment,
            ended_at = NULL, outcome = NULL;
        UPDATE {schema}.job
        SET status = now_is, attempts = NEW.attempts + 1, queue = NEW.queue_name,
            worker_name = coalesce(who.name, worker_name),
            max_attempts = coalesce((who.max_attempts ->> NEW.task_name)::int, max_attempts),
            started_at = coalesce(started_at, moment), attempt_started_at = moment,
            wait_ms = coalesce(wait_ms, greatest(0, 1000 * date_part(
                'epoch', moment - greatest(created_at, coalesce(NEW.scheduled_at, created_at)))))
        WHERE created_at = before.created_at AND id = NEW.id;
        IF before.status = 'running' THEN
            -- The fast way above has been there, and found that this is not the first attempt.
            before.status := (
                SELECT to_status FROM {schema}.job_transition
                WHERE job_id = NEW.id AND job_created_at = before.created_at
                ORDER BY id DESC LIMIT 1);
        END IF;
        why := coalesce(why, 'attempt ' || (NEW.attempts + 1));
    ELSE
        IF OLD.status = 'doing' THEN
            -- The middleware may have said how it ended. Without it, a job that begins anew has
            -- failed, or lost its worker when that has no row any more.
            ended := CASE NEW.status
                WHEN 'succeeded' THEN 'completed'
                WHEN 'failed' THEN CASE WHEN NEW.abort_requested THEN 'cancelled' ELSE 'failed' END
                WHEN 'todo' THEN CASE WHEN OLD.worker_id IS NULL THEN 'lost' ELSE 'failed' END
                ELSE 'cancelled'
            END;
            UPDATE {schema}.attempt SET ended_at = moment, outcome = ended
            WHERE job_id = NEW.id AND number = OLD.attempts + 1
              AND job_created_at = before.created_at AND attempt.outcome IS NULL;
            IF NOT FOUND THEN
                ended := {schema}.stoker_close(NEW.id, before.created_at, moment, ended);
            END IF;
        END IF;
        now_is := CASE
            WHEN NEW.status = 'todo' AND ended = 'moved' THEN 'pending'
            WHEN NEW.status = 'todo' THEN 'retrying'
            WHEN NEW.status = 'succeeded' THEN 'completed'
            WHEN NEW.status = 'failed' AND NOT NEW.abort_requested THEN 'failed'
            ELSE 'cancelled'
        END;
        UPDATE {schema}.job
        SET status = now_is, queue = NEW.queue_name, priority = NEW.priority, lock = NEW.lock,
            scheduled_at = NEW.scheduled_at,
            run_ms = run_ms + CASE WHEN OLD.status = 'doing' THEN
                greatest(0, 1000 * date_part('epoch', moment - attempt_started_at)) ELSE 0 END,
            ended_at = CASE WHEN now_is IN ('completed', 'failed', 'cancelled') THEN moment END,
            progress = CASE WHEN now_is = 'completed' THEN 100 ELSE progress END,
            error_type = CASE WHEN now_is <> 'completed' THEN error_type END,
            error_message = CASE WHEN now_is <> 'completed' THEN error_message END
        WHERE created_at = before.created_at AND id = NEW.id;
        IF before.message IS NOT NULL AND now_is IN ('completed', 'failed', 'cancelled') THEN
            UPDATE {schema}.job_search
            SET words = left(words, 8000) || ' ' || lower(left(before.message, 1000))
            WHERE job_created_at = before.created_at AND job_id = NEW.id;
        END IF;
        IF before.ended_at IS NOT NULL THEN
            INSERT INTO {schema}.dirty_hour (hour)
            VALUES (date_trunc('hour', before.ended_at, 'UTC'));
        END IF;
        IF why IS NULL AND ended IN ('lost', 'moved') THEN
            why := CASE ended WHEN 'lost' THEN 'its worker was lost'
                ELSE 'goes on in queue ' || NEW.queue_name END;
        END IF;
    END IF;
    INSERT INTO {schema}.job_transition
        (job_id, job_created_at, at, from_status, to_status, triggered_by, details)
    VALUES (NEW.id, before.created_at, moment, before.status, now_is, actor, why);
    PERFORM {schema}.stoker_tell('job', NEW.id);
    RETURN NULL;
END
$$;

-- Close whatever attempt of a job is open, and say how it or its latest one ended. Older ones can be
-- open where a queue is being adopted and their end was not seen: a later one began, so they failed.
CREATE OR REPLACE FUNCTION {schema}.stoker_close(
    job bigint, born timestamptz, moment timestamptz, how text
) RETURNS text LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    UPDATE {schema}.attempt
    SET ended_at = moment,
        outcome = CASE WHEN EXISTS (
            SELECT FROM {schema}.attempt AS later
            WHERE later.job_created_at = born AND later.job_id = job AND later.number > attempt.number
        ) THEN 'failed' ELSE how END
    WHERE job_created_at = born AND job_id = job AND attempt.outcome IS NULL;
    RETURN (
        SELECT attempt.outcome FROM {schema}.attempt
        WHERE job_created_at = born AND job_id = job ORDER BY number DESC LIMIT 1);
END
$$;
