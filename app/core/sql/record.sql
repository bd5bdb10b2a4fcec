-- The triggers on Procrastinate's tables that fill the record, and the functions by which the worker
-- middleware adds what only a worker knows. {schema} is the schema of Stoker's tables, {queue} that of
-- Procrastinate's.
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

-- Close whatever attempt of a job is open, and say how it or its latest one ended.
CREATE OR REPLACE FUNCTION {schema}.stoker_close(
    job bigint, born timestamptz, moment timestamptz, how text
) RETURNS text LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    closed text;
BEGIN
    UPDATE {schema}.attempt SET ended_at = moment, outcome = how
    WHERE job_created_at = born AND job_id = job AND attempt.outcome IS NULL
    RETURNING attempt.outcome INTO closed;
    IF closed IS NULL THEN
        SELECT attempt.outcome INTO closed FROM {schema}.attempt
        WHERE job_created_at = born AND job_id = job ORDER BY number DESC LIMIT 1;
    END IF;
    RETURN closed;
END
$$;

CREATE OR REPLACE FUNCTION {schema}.stoker_deleted() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    moment timestamptz := clock_timestamp();
    before record;
    outcome text;
    now_is text;
BEGIN
    IF current_setting('stoker.is_moving', true) = 'on' THEN
        RETURN NULL;
    END IF;
    SELECT created_at, status, message INTO before
    FROM {schema}.job WHERE id = OLD.id ORDER BY ended_at IS NULL DESC, created_at DESC LIMIT 1;
    IF NOT FOUND OR before.status NOT IN ('pending', 'retrying', 'running') THEN
        RETURN NULL;
    END IF;
    IF OLD.status = 'doing' THEN
        -- Its worker deletes what it ends: only the middleware knows how that was.
        outcome := {schema}.stoker_close(OLD.id, before.created_at, moment, 'deleted');
        now_is := CASE outcome WHEN 'failed' THEN 'failed' WHEN 'lost' THEN 'failed'
            WHEN 'cancelled' THEN 'cancelled' ELSE 'completed' END;
    ELSE
        now_is := 'cancelled';
    END IF;
    UPDATE {schema}.job
    SET status = now_is, ended_at = moment,
        run_ms = run_ms + CASE WHEN OLD.status = 'doing' THEN
            greatest(0, 1000 * date_part('epoch', moment - attempt_started_at)) ELSE 0 END,
        progress = CASE WHEN now_is = 'completed' THEN 100 ELSE progress END
    WHERE created_at = before.created_at AND id = OLD.id;
    IF before.message IS NOT NULL THEN
        UPDATE {schema}.job_search
        SET words = left(words, 8000) || ' ' || lower(left(before.message, 1000))
        WHERE job_created_at = before.created_at AND job_id = OLD.id;
    END IF;
    INSERT INTO {schema}.job_transition
        (job_id, job_created_at, at, from_status, to_status, triggered_by, details)
    VALUES (OLD.id, before.created_at, moment, before.status, now_is,
            coalesce(nullif(current_setting('stoker.actor', true), ''),
                     nullif(current_setting('application_name'), ''), session_user),
            CASE WHEN outcome = 'deleted'
                THEN 'its row was deleted; whether it failed was not recorded'
                ELSE 'its row was deleted' END);
    PERFORM {schema}.stoker_tell('job', OLD.id);
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION {schema}.stoker_truncated() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    moment timestamptz := clock_timestamp();
BEGIN
    UPDATE {schema}.attempt SET ended_at = moment, outcome = 'deleted' WHERE attempt.outcome IS NULL;
    WITH ended AS (
        UPDATE {schema}.job SET status = 'cancelled', ended_at = moment
        FROM (
            SELECT id, created_at, status FROM {schema}.job
            WHERE status IN ('pending', 'retrying', 'running')
              AND NOT EXISTS (SELECT FROM {schema}.waiting_job WHERE waiting_job.id = job.id)
        ) AS open
        WHERE job.created_at = open.created_at AND job.id = open.id
        RETURNING job.id, job.created_at, open.status
    )
    INSERT INTO {schema}.job_transition
        (job_id, job_created_at, at, from_status, to_status, triggered_by, details)
    SELECT id, created_at, moment, status, 'cancelled',
           coalesce(nullif(current_setting('application_name'), ''), session_user),
           'the queue was emptied by TRUNCATE'
    FROM ended;
    PERFORM {schema}.stoker_tell('job', NULL);
    RETURN NULL;
END
$$;

-- The rollups of the hours in which removed jobs ended are no longer right. (What goes with its whole
-- partition is the retention's to tell.)
CREATE OR REPLACE FUNCTION {schema}.stoker_forgotten() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO {schema}.dirty_hour (hour)
    SELECT DISTINCT date_trunc('hour', ended_at, 'UTC') FROM forgotten WHERE ended_at IS NOT NULL;
    RETURN NULL;
END
$$;

-- What a job waits for that depends on others, in words; null when on none any more.
CREATE OR REPLACE FUNCTION {schema}.stoker_waits_for(the_job bigint) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE count(*) WHEN 0 THEN NULL WHEN 1 THEN 'Waiting for job ' || min(needs_id)
        ELSE 'Waiting for ' || count(*) || ' jobs' END
    FROM {schema}.job_dependency WHERE job_id = the_job AND met_at IS NULL
$$;

-- A job on which others depend has ended: they are released with it, or cancelled. The jobs on which
-- none depends never come here (see the trigger), so it costs them nothing.
CREATE OR REPLACE FUNCTION {schema}.stoker_followed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    moment timestamptz := clock_timestamp();
    actor text := coalesce(
        nullif(current_setting('stoker.actor', true), ''),
        nullif(current_setting('application_name'), ''), session_user
    );
BEGIN
    -- One end after the other: two at once would each wait for the rows of jobs that depend on both.
    PERFORM pg_advisory_xact_lock(4080113723);
    IF NEW.status = 'completed' THEN
        PERFORM {schema}.stoker_release(NEW.id, moment, actor);
    ELSE
        PERFORM {schema}.stoker_cascade(NEW.id, NEW.status, moment, actor);
    END IF;
    PERFORM {schema}.stoker_tell('job', NULL);
    RETURN NULL;
END
$$;

-- What waited for the job has one less to wait for. With none left it is due, and enters the queue.
CREATE OR REPLACE FUNCTION {schema}.stoker_release(
    the_job bigint, moment timestamptz, actor text
) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    followers bigint[];
    free bigint[];
BEGIN
    WITH met AS (
        UPDATE {schema}.job_dependency SET met_at = moment
        WHERE needs_id = the_job AND met_at IS NULL
        RETURNING job_id
    )
    SELECT array_agg(job_id) INTO followers FROM met;
    WITH counted AS (
        UPDATE {schema}.waiting_job
        SET needs = needs - 1, due_at = greatest(due_at, moment)
        WHERE id = ANY (followers) AND needs > 0
        RETURNING id, needs, due_at
    ), said AS (
        UPDATE {schema}.job
        SET message = {schema}.stoker_waits_for(job.id),
            scheduled_at = CASE WHEN counted.needs = 0 THEN counted.due_at ELSE scheduled_at END
        FROM counted
        WHERE job.id = counted.id AND job.status = 'pending'
        RETURNING job.id, job.created_at, counted.needs
    ), told AS (
        INSERT INTO {schema}.job_transition
            (job_id, job_created_at, at, from_status, to_status, triggered_by, details)
        SELECT id, created_at, moment, 'pending', 'pending', actor,
               'job ' || the_job || ', on which it depends, completed'
        FROM said
    )
    SELECT array_agg(id) INTO free FROM said WHERE needs = 0;
    IF free IS NOT NULL THEN
        PERFORM {schema}.stoker_enter(free, moment + interval '10 minutes');
    END IF;
END
$$;

-- Jobs that may run and are due by then enter the queue. If they can't, the job that ended is not to
-- suffer: the housekeeper tries again. (Procrastinate's own triggers find its tables by the search path.)
CREATE OR REPLACE FUNCTION {schema}.stoker_enter(ids bigint[], until timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, {queue_path}, pg_temp AS $$
DECLARE
    was text := current_setting('stoker.is_due', true);
BEGIN
    -- They have their record already.
    PERFORM set_config('stoker.is_due', 'on', true);
    WITH entered AS (
        INSERT INTO procrastinate_jobs
            (id, queue_name, task_name, priority, lock, queueing_lock, args, scheduled_at)
        SELECT id, queue, task, priority, lock, queueing_lock, arguments, due_at
        FROM {schema}.waiting_job
        WHERE id = ANY (ids) AND needs = 0 AND due_at <= until
        ORDER BY id
        ON CONFLICT DO NOTHING
        RETURNING id
    )
    DELETE FROM {schema}.waiting_job USING entered WHERE waiting_job.id = entered.id;
    PERFORM set_config('stoker.is_due', coalesce(was, ''), true);
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'jobs % could not enter the queue: %', ids, SQLERRM;
END
$$;

-- What waited for a job that failed or was cancelled is cancelled with it, and so on, level by level:
-- one trigger within another would soon be too deep.
CREATE OR REPLACE FUNCTION {schema}.stoker_cascade(
    the_job bigint, how text, moment timestamptz, actor text
) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ended bigint[] := ARRAY[the_job];
    words text := CASE how WHEN 'failed' THEN 'failed' ELSE 'was cancelled' END;
BEGIN
    PERFORM set_config('stoker.is_following', 'on', true);
    WHILE ended IS NOT NULL LOOP
        WITH gone AS (
            DELETE FROM {schema}.waiting_job
            USING (
                SELECT DISTINCT ON (job_id) job_id, needs_id FROM {schema}.job_dependency
                WHERE needs_id = ANY (ended) AND met_at IS NULL
                ORDER BY job_id, needs_id
            ) AS edge
            WHERE waiting_job.id = edge.job_id AND waiting_job.needs > 0
            RETURNING waiting_job.id, edge.needs_id
        ), cancelled AS (
            UPDATE {schema}.job
            SET status = 'cancelled', ended_at = moment,
                message = 'Job ' || gone.needs_id || ', on which it depends, ' || words
            FROM gone
            WHERE job.id = gone.id AND job.status = 'pending'
            RETURNING job.id, job.created_at, job.is_needed, gone.needs_id
        ), told AS (
            INSERT INTO {schema}.job_transition
                (job_id, job_created_at, at, from_status, to_status, triggered_by, details)
            SELECT id, created_at, moment, 'pending', 'cancelled', actor,
                   'cancelled: job ' || needs_id || ', on which it depends, ' || words
            FROM cancelled
        )
        SELECT array_agg(id) FILTER (WHERE is_needed) INTO ended FROM cancelled;
        words := 'was cancelled';
    END LOOP;
    PERFORM set_config('stoker.is_following', '', true);
END
$$;

-- From here on: what the worker middleware calls. They run with the rights of who installed them, so
-- each asks first who calls.

-- Who may change the queue's jobs may say what became of them, and nobody else.
CREATE OR REPLACE FUNCTION {schema}.stoker_admit() RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    caller name := coalesce(nullif(current_setting('role'), 'none'), session_user);
BEGIN
    IF has_table_privilege(caller, to_regclass('{queue}.procrastinate_jobs'), 'UPDATE') THEN
        RETURN true;
    END IF;
    RAISE EXCEPTION 'the role % may not say what became of jobs', quote_ident(caller)
        USING ERRCODE = 'insufficient_privilege',
              HINT = 'It needs the right to UPDATE procrastinate_jobs.';
END
$$;

-- A worker says who it is, once: the fetches that follow are recorded under its name, and so are
-- those that it has made already. `most` is {task: most attempts}, of the tasks that have a limit.
CREATE OR REPLACE FUNCTION {schema}.stoker_register(
    the_queue_worker bigint, the_worker uuid, the_name text, the_host text, the_pid bigint,
    most jsonb
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM {schema}.stoker_admit();
    INSERT INTO {schema}.queue_worker AS w (id, worker_id, name, host, pid, max_attempts)
    VALUES (the_queue_worker, the_worker, the_name, the_host, the_pid, most)
    ON CONFLICT (id) DO UPDATE
    SET worker_id = coalesce(excluded.worker_id, w.worker_id), name = excluded.name,
        host = excluded.host, pid = excluded.pid,
        max_attempts = w.max_attempts || excluded.max_attempts;
    WITH mine AS (
        UPDATE {schema}.attempt
        SET worker_id = the_worker, worker_name = the_name, host = the_host, pid = the_pid
        WHERE queue_worker_id = the_queue_worker AND outcome IS NULL AND worker_name IS NULL
        RETURNING job_id, job_created_at, task
    )
    UPDATE {schema}.job
    SET worker_name = the_name,
        max_attempts = coalesce((most ->> mine.task)::int, job.max_attempts)
    FROM mine WHERE job.created_at = mine.job_created_at AND job.id = mine.job_id;
END
$$;

-- The token of a job's open attempt. No row: it has none, or none that is this number.
CREATE OR REPLACE FUNCTION {schema}.stoker_claim(the_job bigint, the_number int)
RETURNS TABLE (token uuid, job_created_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT token, job_created_at FROM {schema}.attempt
    WHERE {schema}.stoker_admit()
      AND job_id = the_job AND number = the_number AND outcome IS NULL
$$;

-- What plain successes used: `uses` is an array of {job, number, [cpu_seconds], [peak_memory_bytes],
-- [gpu_seconds]}. It opens and closes nothing, may come late, and is one statement for many.
CREATE OR REPLACE FUNCTION {schema}.stoker_use(uses jsonb) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
    UPDATE {schema}.attempt AS mine
    SET cpu_seconds = u.cpu_seconds, peak_memory_bytes = u.peak_memory_bytes,
        gpu_seconds = u.gpu_seconds
    FROM jsonb_to_recordset(uses) AS u(
        job bigint, number int, cpu_seconds float8, peak_memory_bytes bigint, gpu_seconds float8)
    WHERE {schema}.stoker_admit() AND mine.job_id = u.job AND mine.number = u.number;
$$;

-- How attempts ended and what they used; `ends` is an array of objects:
-- {job, number, [token], [outcome], [error_type], [error_message], [traceback], [result],
--  [result_bytes], [cpu_seconds], [peak_memory_bytes], [gpu_seconds], [done], [total], [percent],
--  [message]}.
-- An outcome closes the attempt, unless it is closed by another that knew how it ended. Returns how many were found; said
-- twice it changes nothing the second time.
CREATE OR REPLACE FUNCTION {schema}.stoker_end(ends jsonb) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    e record;
    born timestamptz;
    ended timestamptz;
    is_about_job boolean;
    words_of_error text;
    found_count int := 0;
BEGIN
    PERFORM {schema}.stoker_admit();
    FOR e IN
        SELECT * FROM jsonb_to_recordset(ends) AS e(
            job bigint, number int, token uuid, outcome text, error_type text, error_message text,
            traceback text, result jsonb, result_bytes bigint, cpu_seconds float8,
            peak_memory_bytes bigint, gpu_seconds float8, done bigint, total bigint, percent int,
            message text)
        ORDER BY job, number
    LOOP
        SELECT created_at INTO born
        FROM {schema}.job WHERE id = e.job ORDER BY ended_at IS NULL DESC, created_at DESC LIMIT 1;
        is_about_job := num_nonnulls(e.result, e.result_bytes, e.error_type, e.done, e.total,
            e.percent, e.message) > 0;
        IF is_about_job THEN
            -- The job before its attempt, as the triggers lock them.
            PERFORM FROM {schema}.job WHERE created_at = born AND id = e.job FOR NO KEY UPDATE;
        END IF;
        UPDATE {schema}.attempt AS mine
        SET ended_at = CASE WHEN e.outcome IS NULL THEN mine.ended_at
                ELSE coalesce(mine.ended_at, clock_timestamp()) END,
            outcome = coalesce(e.outcome, mine.outcome),
            error_type = e.error_type, error_message = e.error_message, traceback = e.traceback,
            result = e.result, cpu_seconds = e.cpu_seconds,
            peak_memory_bytes = e.peak_memory_bytes, gpu_seconds = e.gpu_seconds
        WHERE mine.job_id = e.job AND mine.number = e.number AND mine.job_created_at = born
          AND (e.token IS NULL OR mine.token = e.token)
          AND (mine.outcome IS NULL OR e.outcome IS NULL OR mine.outcome IN (e.outcome, 'deleted'));
        IF NOT FOUND THEN
            CONTINUE;
        END IF;
        found_count := found_count + 1;
        IF NOT is_about_job THEN
            CONTINUE;
        END IF;
        UPDATE {schema}.job
        SET result = coalesce(e.result, job.result),
            result_bytes = coalesce(e.result_bytes, job.result_bytes),
            error_type = coalesce(e.error_type, job.error_type),
            error_message = coalesce(e.error_message, job.error_message),
            items_done = coalesce(e.done, job.items_done),
            items_total = coalesce(e.total, job.items_total),
            progress = CASE WHEN job.status = 'completed' THEN 100
                ELSE coalesce(e.percent, job.progress) END,
            message = coalesce(e.message, job.message)
        WHERE created_at = born AND id = e.job AND job.attempts <= e.number;
        IF e.outcome IN ('failed', 'cancelled') THEN
            -- Its row was deleted before this was said, and so it counted as completed.
            UPDATE {schema}.job SET status = e.outcome
            WHERE created_at = born AND id = e.job AND status = 'completed' AND attempts = e.number
            RETURNING ended_at INTO ended;
            IF FOUND THEN
                UPDATE {schema}.job_transition
                SET to_status = e.outcome, details = 'its row was deleted'
                WHERE job_created_at = born AND job_id = e.job AND to_status = 'completed';
                INSERT INTO {schema}.dirty_hour (hour) VALUES (date_trunc('hour', ended, 'UTC'));
            END IF;
        END IF;
        IF e.error_type IS NOT NULL THEN
            words_of_error := lower(left(concat_ws(' ', e.error_type, e.error_message), 2000));
            UPDATE {schema}.job_search SET words = left(words, 8000) || ' ' || words_of_error
            WHERE job_created_at = born AND job_id = e.job
              AND position(words_of_error IN words) = 0;
        END IF;
    END LOOP;
    RETURN found_count;
END
$$;

-- How far jobs are; `steps` is an array of {job, number, [done], [total], [percent], [message]}. Of an
-- attempt that is not the job's latest, nothing is taken.
CREATE OR REPLACE FUNCTION {schema}.stoker_progress(steps jsonb) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    s record;
    born timestamptz;
BEGIN
    PERFORM {schema}.stoker_admit();
    FOR s IN
        SELECT * FROM jsonb_to_recordset(steps) AS s(
            job bigint, number int, done bigint, total bigint, percent int, message text)
        ORDER BY job
    LOOP
        SELECT created_at INTO born
        FROM {schema}.job WHERE id = s.job ORDER BY ended_at IS NULL DESC, created_at DESC LIMIT 1;
        UPDATE {schema}.job
        SET items_done = coalesce(s.done, items_done), items_total = coalesce(s.total, items_total),
            progress = coalesce(s.percent, progress), message = coalesce(s.message, job.message)
        WHERE id = s.job AND created_at = born AND status = 'running' AND attempts = s.number;
        PERFORM {schema}.stoker_tell('job', s.job);
    END LOOP;
END
$$;

-- Log lines; `lines` is an array of {at, job, number, batch, level, logger, message, context}.
CREATE OR REPLACE FUNCTION {schema}.stoker_log(lines jsonb) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO {schema}.log_line
        (at, job_id, attempt_number, batch_number, level, logger, message, context)
    SELECT at, job, number, batch, level, logger, message, context
    FROM jsonb_to_recordset(lines) AS l(
        at timestamptz, job bigint, number int, batch bigint, level text, logger text,
        message text, context jsonb)
    WHERE {schema}.stoker_admit();
    SELECT {schema}.stoker_tell('log', job)
    FROM (SELECT DISTINCT (line ->> 'job')::bigint AS job FROM jsonb_array_elements(lines) AS line) AS jobs;
$$;

-- A job that does not run holds no worker: the removal of a worker's row would have to change each.
-- (Small letters: the column is not there in every queue that the record is laid over.)
CREATE OR REPLACE FUNCTION {schema}.stoker_released() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    new.worker_id := NULL;
    RETURN new;
END
$$;

-- triggers

-- Else whoever has a table, a temporary one suffices, could hang them on that, and write what it likes.
REVOKE EXECUTE ON FUNCTION
    {schema}.stoker_deferred(), {schema}.stoker_changed(), {schema}.stoker_deleted(),
    {schema}.stoker_truncated(), {schema}.stoker_forgotten(), {schema}.stoker_tell(text, bigint),
    {schema}.stoker_followed()
FROM PUBLIC;

CREATE OR REPLACE TRIGGER stoker_deferred AFTER INSERT ON procrastinate_jobs
REFERENCING NEW TABLE AS deferred FOR EACH STATEMENT EXECUTE FUNCTION {schema}.stoker_deferred();

CREATE OR REPLACE TRIGGER stoker_changed AFTER UPDATE ON procrastinate_jobs
FOR EACH ROW EXECUTE FUNCTION {schema}.stoker_changed();

CREATE OR REPLACE TRIGGER stoker_deleted AFTER DELETE ON procrastinate_jobs
FOR EACH ROW WHEN (current_setting('stoker.is_moving', true) IS DISTINCT FROM 'on')
EXECUTE FUNCTION {schema}.stoker_deleted();

CREATE OR REPLACE TRIGGER stoker_truncated AFTER TRUNCATE ON procrastinate_jobs
FOR EACH STATEMENT EXECUTE FUNCTION {schema}.stoker_truncated();

CREATE OR REPLACE TRIGGER stoker_forgotten AFTER DELETE ON {schema}.job
REFERENCING OLD TABLE AS forgotten FOR EACH STATEMENT EXECUTE FUNCTION {schema}.stoker_forgotten();

CREATE OR REPLACE TRIGGER stoker_followed AFTER UPDATE OF status ON {schema}.job
FOR EACH ROW WHEN (
    NEW.is_needed AND NEW.status IN ('completed', 'failed', 'cancelled') AND NEW.status <> OLD.status
    AND current_setting('stoker.is_following', true) IS DISTINCT FROM 'on'
)
EXECUTE FUNCTION {schema}.stoker_followed();

-- Another app's rows keep what it wrote.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM {schema}.adoption) THEN
        CREATE OR REPLACE TRIGGER stoker_released BEFORE UPDATE OF status ON procrastinate_jobs
        FOR EACH ROW
        WHEN (old.status = 'doing' AND new.status <> 'doing' AND new.worker_id IS NOT NULL)
        EXECUTE FUNCTION {schema}.stoker_released();
    END IF;
END
$$;
