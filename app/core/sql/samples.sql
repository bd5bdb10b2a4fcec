-- name: slots
-- What the machines did in each slice of a window: the mean of each figure, and the models that were
-- loaded in it. A machine is named by its host, whichever worker tells of it.
SELECT host, floor(extract(epoch FROM at - CAST(:since AS timestamptz))
                   / CAST(:step AS double precision))::int AS slot,
       min(at) AS begins_at, max(at) AS ends_at, array_agg(DISTINCT coalesce(model, '')) AS models,
       avg(gpu_utilization) AS gpu_utilization, avg(gpu_memory_percent) AS gpu_memory_percent,
       avg(cpu_percent) AS cpu_percent, avg(memory_percent) AS memory_percent,
       avg(worker_cpu_percent) AS worker_cpu_percent,
       avg(worker_memory_bytes) AS worker_memory_bytes,
       avg(engine_cpu_percent) AS engine_cpu_percent,
       avg(engine_memory_bytes) AS engine_memory_bytes
FROM worker_sample
WHERE at >= CAST(:since AS timestamptz) - make_interval(secs => :lasts) AND at < :until
GROUP BY 1, 2
ORDER BY 1, 2
LIMIT :most;
