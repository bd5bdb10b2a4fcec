-- Which parts of a window are in the rollups that are right (days, then hours outside of them), and which
-- (gaps) are left to be read from the jobs themselves. For statements that begin with `asked`: one row with
-- since, until, and whether days and hours may be taken whole (with_days, with_hours).
day AS (
    SELECT begins_at
    FROM asked JOIN rollup_span ON span = 'day' AND begins_at >= since
        AND begins_at <= until - interval '24 hours'
    WHERE with_days
      AND NOT EXISTS (
          SELECT FROM dirty_hour
          WHERE hour >= begins_at AND hour < begins_at + interval '24 hours'
      )
), hour AS (
    SELECT begins_at
    FROM asked JOIN rollup_span ON span = 'hour' AND begins_at >= since
        AND begins_at <= until - interval '1 hour'
    -- A transaction that ended a job may have taken a moment to commit.
    WHERE with_hours AND refreshed_at >= begins_at + interval '61 minutes'
      AND NOT EXISTS (SELECT FROM dirty_hour WHERE dirty_hour.hour = begins_at)
      AND date_trunc('day', begins_at, 'UTC') NOT IN (SELECT begins_at FROM day)
), gap AS (
    SELECT lower(range) AS since, upper(range) AS until
    FROM unnest((
        SELECT tstzmultirange(tstzrange(since, until)) - coalesce((
            SELECT range_agg(range) FROM (
                SELECT tstzrange(begins_at, begins_at + interval '24 hours') AS range FROM day
                UNION ALL
                SELECT tstzrange(begins_at, begins_at + interval '1 hour') FROM hour
            ) AS counted
        ), '{}')
        FROM asked
    )) AS range
)
