"""Procrastinate's job manager as our workers use it: paused queues and limits of what runs hold."""

from __future__ import annotations

from collections.abc import Iterable

from procrastinate.connector import BaseConnector
from procrastinate.jobs import Job
from procrastinate.manager import JobManager

from app.core.admission import LIMITED_QUEUES
from app.core.settings import Settings

_FETCH = """
SELECT id, status, task_name, priority, lock, queueing_lock, args, scheduled_at, queue_name,
       attempts, worker_id
FROM stoker_fetch(%(queues)s::text[], %(worker_id)s, %(limited)s::text[], %(per_user)s, %(overall)s)
"""


class Admission(JobManager):
    """Fetches by app/core/sql/fetch.sql; all else is Procrastinate's."""

    def __init__(self, connector: BaseConnector, settings: Settings) -> None:
        super().__init__(connector)
        self._settings = settings

    async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> Job | None:
        """The next job that may start, now running for that worker."""
        row = await self.connector.execute_query_one_async(
            query=_FETCH,
            queues=list(queues or ()),
            worker_id=worker_id,
            limited=list(LIMITED_QUEUES),
            per_user=self._settings.user_concurrent_jobs,
            overall=self._settings.concurrent_jobs,
        )
        return None if row["id"] is None else Job.from_row(row)
