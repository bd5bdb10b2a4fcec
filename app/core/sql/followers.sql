-- Jobs that depend on others: what the end of a job does to those that wait for it.

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
