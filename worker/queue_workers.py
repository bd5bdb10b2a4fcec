"""Procrastinate's workers as we run them: one for quick steps, one for the model's turn."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import procrastinate
import psycopg
import structlog
from procrastinate import exceptions
from procrastinate.job_context import JobContext, JobResult
from procrastinate.jobs import Job, Status
from procrastinate.retry import RetryDecision
from procrastinate.worker import Worker

from app.core import batches, recovery, tasks
from worker.house import House
from worker.recording import HouseRecorder
from worker.turns import Turns

log = structlog.get_logger("worker")

# Beyond the drain a job may still write what it has; then Procrastinate ends it.
_GRACE_SECONDS = 5.0
_STEPS_AT_ONCE = 4


def _options(house: House) -> dict[str, Any]:
    settings = house.settings
    return {
        "fetch_job_polling_interval": settings.poll_seconds,
        "abort_job_polling_interval": max(settings.poll_seconds, 1.0),
        "shutdown_graceful_timeout": settings.worker_drain_seconds + _GRACE_SECONDS,
        "install_signal_handlers": False,
        "update_heartbeat_interval": settings.worker_heartbeat_seconds,
        "stalled_worker_timeout": settings.worker_stale_seconds,
        "delete_jobs": "never",
        "additional_context": {"house": house},
        "worker_middleware": [HouseRecorder(house).record],
    }


def make_step_worker(app: procrastinate.App, house: House) -> Worker:
    """For what needs no engine: validation, and the ends of batches that wait."""
    return _LastingWorker(
        app, queues=[batches.QUEUE], name="steps", concurrency=_STEPS_AT_ONCE, **_options(house)
    )


def make_task_worker(app: procrastinate.App, house: House) -> Worker:
    """For long work that needs no engine: exports, backups and their like."""
    return _LastingWorker(
        app,
        queues=[tasks.QUEUE],
        name="tasks",
        concurrency=house.settings.task_slots,
        **_options(house),
    )


def make_turn_worker(app: procrastinate.App, house: House) -> Worker:
    """For batches in the engine; it fetches only from the queue of the model whose turn it is."""
    return _TurnWorker(
        app,
        house.turns,
        name="turns",
        concurrency=house.settings.max_running_batches,
        **_options(house),
    )


def _settle(house: House) -> None:
    with house.sessions() as session:
        recovery.settle_batches(session)


class _LastingWorker(Worker):
    """Goes on where Procrastinate's would end itself, and ends no job that is another's by now."""

    async def _fetch_and_process_jobs(self) -> None:
        try:
            await super()._fetch_and_process_jobs()  # type: ignore[no-untyped-call]
        except exceptions.ConnectorException as fault:
            if not isinstance(fault.__cause__, psycopg.errors.ForeignKeyViolation):
                raise
            # While this process was stopped, another took it for dead and removed its row.
            self.worker_id = await self.app.job_manager.register_worker()
            log.warning("worker.registered_again", queues=list(self.queues or ()))

    async def _persist_job_status(
        self,
        job: Job,
        status: Status,
        retry_decision: RetryDecision | None,
        context: JobContext,
        job_result: JobResult | None,
    ) -> None:
        if context.additional_context.get("is_fenced"):
            log.warning("job.lost", job_id=job.id)
            return
        try:
            await super()._persist_job_status(job, status, retry_decision, context, job_result)
        except exceptions.ConnectorException as fault:
            # The housekeeper finds the job doing with nobody who does it, and puts it back.
            log.error("job.end_not_recorded", job_id=job.id, error=str(fault.__cause__ or fault))
            return
        if retry_decision is not None and retry_decision.queue is not None:
            # Who cancelled the batch while its job was on the move could not hurry it.
            house: House = context.additional_context["house"]
            await house.patience.outlast(lambda: _settle(house), "settle")


class _TurnWorker(_LastingWorker):
    def __init__(self, app: procrastinate.App, turns: Turns, **options: Any) -> None:
        self._turns = turns
        super().__init__(app, **options)

    @property
    def queues(self) -> Iterable[str] | None:
        """Read by Procrastinate at each fetch."""
        return self._turns.queues()

    @queues.setter
    def queues(self, value: Iterable[str] | None) -> None:
        """Procrastinate's own constructor sets it; here the turn decides."""
