"""Our own worker's record: its tokens fence what attempts write, and an outage only delays it."""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from procrastinate import JobContext
from procrastinate.worker import Worker

from app.core import batches
from worker.house import House
from worker.record import Attempt, Recorder, current
from worker.record.desk import Desk

log = structlog.get_logger("job")


def worker_name() -> str:
    """By which this process is known."""
    return f"worker-{socket.gethostname()}-{os.getpid()}"


class HouseRecorder(Recorder):
    """Claims each attempt before its task runs, and asks at its end whether it is still its own.

    It waits for the record as long as it takes: the connector outlasts outages.
    """

    def __init__(self, house: House) -> None:
        super().__init__(
            results_folder=house.settings.results_path,
            wait_seconds=None,
            worker_id=house.worker_id,
            worker_name=worker_name(),
        )
        self._house = house

    async def record(
        self, call_next: Callable[[], Awaitable[Any]], context: JobContext, worker: Worker
    ) -> Any:
        """The worker middleware."""
        job = context.job
        assert job.id is not None
        coming = self._house.turns.coming
        # Before anything is awaited: the turns must know of it before the next job is fetched.
        if job.task_name == batches.TASK and job.queue != batches.QUEUE:
            coming.add(job.id)
        try:
            return await self.middleware(call_next, context, worker)
        finally:
            coming.discard(job.id)

    async def begin(self, desk: Desk, attempt: Attempt, context: JobContext) -> bool:
        """Take the attempt's token. False: the job was put back between its fetch and now."""
        attempt.token = await desk.claim(attempt)
        if attempt.token is None:
            # It is somebody else's, and not ours to end.
            context.additional_context["is_fenced"] = True
            log.warning("job.lost", job_id=attempt.job_id)
            return False
        context.additional_context["token"] = attempt.token
        self._house.running[attempt.token] = attempt.job_id
        return True

    async def end(
        self,
        desk: Desk,
        attempt: Attempt,
        context: JobContext,
        fault: BaseException | None,
        result: Any,
    ) -> bool:
        """Close the attempt; of one that was taken for lost the job is not ours to end."""
        assert attempt.token is not None
        try:
            is_ours = await super().end(desk, attempt, context, fault, result)
            context.additional_context["is_fenced"] = not is_ours
            return is_ours
        finally:
            del self._house.running[attempt.token]


class JobLog:
    """What an attempt's task has to say: to the process's log at once, to the database soon."""

    def __init__(self) -> None:
        attempt = current()
        assert attempt is not None
        self.batch_number: int | None = None
        self._attempt = attempt

    def info(self, message: str, **context: Any) -> None:
        self._add("info", message, context)

    def warning(self, message: str, **context: Any) -> None:
        self._add("warning", message, context)

    def error(self, message: str, **context: Any) -> None:
        self._add("error", message, context)

    def _add(self, level: str, message: str, context: dict[str, Any]) -> None:
        getattr(log, level)(message, job_id=self._attempt.job_id, **context)
        self._attempt.log(level, message, context, batch=self.batch_number)

    async def close(self) -> None:
        """Write what is left."""
        await self._attempt.flush()
