"""The worker middleware: around each job, says to the record what only the worker knows."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from procrastinate import JobContext
from procrastinate.jobs import DeleteJobCondition
from procrastinate.worker import Worker

from . import outcome
from .attempt import Attempt, attempt_here
from .desk import Desk, log

# Results of at least so many elements are written as JSON beside the event loop.
_MANY = 1000


class Recorder:
    """`Recorder(results_folder="results").middleware` is for `worker_middleware`.

    `results_folder`: where results over 1 MB are written, as <job>-<attempt>.json; without one only
    their size is kept. `wait_seconds`: how long a job waits for the record at most, None for ever.
    `worker_id` and `worker_name` say whose attempts they are.
    """

    def __init__(
        self,
        *,
        results_folder: str | Path | None = None,
        wait_seconds: float | None = 2.0,
        worker_id: UUID | None = None,
        worker_name: str = "",
    ) -> None:
        self._folder = Path(results_folder) if results_folder else None
        self._wait_seconds = wait_seconds
        self._worker_id = worker_id
        self._worker_name = worker_name
        self._desks: dict[Worker, Desk] = {}

    async def middleware(
        self, call_next: Callable[[], Awaitable[Any]], context: JobContext, worker: Worker
    ) -> Any:
        """Run the job; whatever the record's trouble, the job does not notice."""
        desk = self._desks.get(worker)
        if desk is None:
            desk = self._desks[worker] = Desk(
                worker,
                wait_seconds=self._wait_seconds,
                worker_id=self._worker_id,
                name=self._worker_name,
                on_close=lambda: self._desks.pop(worker, None),
            )
        if context.job.id is None or not await desk.is_open():
            return await call_next()
        attempt = Attempt(context.job.id, context.job.attempts + 1, desk.lines, desk.flush)
        if not await self.begin(desk, attempt, context):
            return None
        desk.active.add(attempt)
        here = attempt_here.set(attempt)
        fault: BaseException | None = None
        result: Any = None
        try:
            result = await call_next()
            return result
        except BaseException as raised:
            fault = raised
            raise
        finally:
            attempt_here.reset(here)
            desk.active.discard(attempt)
            try:
                await self.end(desk, attempt, context, fault, result)
            except Exception:
                log.warning("the end of job %s is not recorded", attempt.job_id, exc_info=True)

    async def begin(self, desk: Desk, attempt: Attempt, context: JobContext) -> bool:
        """Before the job runs; False: it is not to run."""
        return True

    async def end(
        self,
        desk: Desk,
        attempt: Attempt,
        context: JobContext,
        fault: BaseException | None,
        result: Any,
    ) -> bool:
        """After it ran, before its status is written. False: the attempt was no longer ours."""
        attempt.say_dropped()
        is_plain = (
            fault is None
            and result is None
            and attempt.token is None
            and not attempt.has_step
            and desk.worker.delete_jobs is DeleteJobCondition.NEVER
        )
        if is_plain:
            desk.add_use(attempt)
            return True
        entry: dict[str, Any] = {
            "job": attempt.job_id,
            "number": attempt.number,
            "outcome": outcome.of(fault),
            **attempt.usage(),
            **attempt.take_step(),
        }
        if attempt.token is not None:
            entry["token"] = str(attempt.token)
        if fault is not None and entry["outcome"] != "moved":
            entry |= outcome.error(fault)
        if result is not None:
            entry |= await self._keep_result(attempt, result)
        return await desk.end(entry)

    async def _keep_result(self, attempt: Attempt, result: Any) -> dict[str, Any]:
        name = f"{attempt.job_id}-{attempt.number}.json"
        try:
            if isinstance(result, str | bytes | dict | list | tuple) and len(result) >= _MANY:
                return await asyncio.to_thread(outcome.result, result, self._folder, name)
            return outcome.result(result, self._folder, name)
        except OSError as fault:
            return {"result": {outcome.MARK: "not kept", "error": str(fault)[:500]}}


_default = Recorder(results_folder=os.environ.get("RECORD_RESULTS_FOLDER"))
middleware = _default.middleware
