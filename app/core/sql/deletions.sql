-- What the triggers (triggers.sql) do to the record when rows go: deleted jobs of Procrastinate's, removed
-- workers, and jobs of the record itself. As record.sql in all else.

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

-- A job that does not run holds no worker: the removal of a worker's row would have to change each.
-- (Small letters: the column is not there in every queue that the record is laid over.)
CREATE OR REPLACE FUNCTION {schema}.stoker_released() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    new.worker_id := NULL;
    RETURN new;
END
$$;
