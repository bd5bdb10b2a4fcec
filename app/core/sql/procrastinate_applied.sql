-- Which of Procrastinate's 3.x migrations has this database had? Procrastinate keeps no record, so
-- each is known by what it leaves behind. Names resolve along the search_path, as Procrastinate's do.
SELECT probe.name
FROM (VALUES
    ('03.00.00_01_pre_cancel_notification.sql', EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = to_regclass('procrastinate_jobs')
            AND attname = 'abort_requested' AND NOT attisdropped)),
    ('03.00.00_50_post_cancel_notification.sql', EXISTS (
        SELECT FROM pg_constraint
        WHERE conrelid = to_regclass('procrastinate_jobs')
            AND conname = 'check_not_todo_abort_requested')),
    ('03.01.00_01_pre_add_heartbeat.sql', to_regclass('procrastinate_workers') IS NOT NULL),
    ('03.01.00_50_post_add_heartbeat.sql',
        to_regclass('procrastinate_workers') IS NOT NULL
        AND to_regprocedure('procrastinate_fetch_job_v1(character varying[])') IS NULL),
    ('03.02.00_01_pre_batch_defer_jobs.sql',
        to_regtype('procrastinate_job_to_defer_v1') IS NOT NULL),
    ('03.02.00_50_post_batch_defer_jobs.sql',
        to_regtype('procrastinate_job_to_defer_v1') IS NOT NULL
        AND NOT EXISTS (
            SELECT FROM pg_proc
            WHERE proname IN ('procrastinate_defer_job_v1', 'procrastinate_defer_periodic_job_v1')
                AND pg_function_is_visible(oid))),
    ('03.03.00_01_pre_priority_lock_fetch_job.sql', EXISTS (
        SELECT FROM pg_proc
        WHERE oid = to_regprocedure('procrastinate_fetch_job_v2(character varying[], bigint)')
            AND prosrc LIKE '%other_jobs.priority > jobs.priority%')),
    ('03.04.00_01_pre_add_retry_failed_job_procedure.sql', EXISTS (
        SELECT FROM pg_proc
        WHERE proname = 'procrastinate_retry_job_v2' AND pg_function_is_visible(oid))),
    ('03.04.00_50_post_add_retry_failed_job_procedure.sql', EXISTS (
        SELECT FROM pg_proc
        WHERE oid = to_regprocedure('procrastinate_trigger_function_status_events_update_v1()')
            AND prosrc LIKE '%''retried''%'))
) AS probe (name, is_applied)
WHERE probe.is_applied
