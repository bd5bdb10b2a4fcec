-- What calls the functions of record.sql and followers.sql, and who may not.

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
