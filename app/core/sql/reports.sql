-- What the worker middleware calls, to add to the record what only a worker knows. They run with the
-- rights of who installed them, so each asks first who calls.

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
--  [message], [milestones]}.
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
            message text, milestones jsonb)
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
            peak_memory_bytes = e.peak_memory_bytes, gpu_seconds = e.gpu_seconds,
            milestones = coalesce(e.milestones, mine.milestones)
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

-- How far jobs are; `steps` is an array of {job, number, [done], [total], [percent], [message],
-- [milestones]}. Of an attempt that is not the job's latest, nothing is taken.
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
            job bigint, number int, done bigint, total bigint, percent int, message text,
            milestones jsonb)
        ORDER BY job
    LOOP
        SELECT created_at INTO born
        FROM {schema}.job WHERE id = s.job ORDER BY ended_at IS NULL DESC, created_at DESC LIMIT 1;
        UPDATE {schema}.job
        SET items_done = coalesce(s.done, items_done), items_total = coalesce(s.total, items_total),
            progress = coalesce(s.percent, progress), message = coalesce(s.message, job.message)
        WHERE id = s.job AND created_at = born AND status = 'running' AND attempts = s.number;
        IF FOUND AND s.milestones IS NOT NULL THEN
            UPDATE {schema}.attempt SET milestones = s.milestones
            -- One that is late must not replace what the attempt's end has written.
            WHERE job_id = s.job AND number = s.number AND job_created_at = born AND outcome IS NULL;
        END IF;
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
