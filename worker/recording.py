"""Records what Procrastinate forgets: each attempt, how it ended, and what it logged."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import structlog
from procrastinate import JobContext
from procrastinate.worker import Worker

from app.core import attempts, batches, logs
from app.core.db import SessionFactory
from app.core.logs import NewLine
from worker.house import House
from worker.outages import Patience
from worker.writer import Writer

log = structlog.get_logger("job")


async def record_attempt(
    call_next: Callable[[], Awaitable[Any]], context: JobContext, worker: Worker
) -> Any:
    """Worker middleware: an attempt is open while the task runs; its token fences the writes."""
    house: House = context.additional_context["house"]
    job_id = context.job.id
    assert job_id is not None
    # Before anything is awaited: the turns must know of it before the next job is fetched.
    if context.job.task_name == batches.TASK and context.job.queue != batches.QUEUE:
        house.turns.coming.add(job_id)
    try:
        return await _record(call_next, context, house, job_id)
    finally:
        house.turns.coming.discard(job_id)


async def _record(
    call_next: Callable[[], Awaitable[Any]], context: JobContext, house: House, job_id: int
) -> Any:
    def claim() -> UUID | None:
        with house.sessions() as session:
            return attempts.claim(
                session,
                job_id=job_id,
                number=context.job.attempts + 1,
                worker_id=house.worker_id,
                worker_name=f"worker-{socket.gethostname()}-{os.getpid()}",
            )

    token = await house.patience.outlast(claim, "claim the attempt")
    if token is None:
        # Put back between the fetch and now: it is somebody else's, and not ours to end.
        context.additional_context["is_fenced"] = True
        log.warning("job.lost", job_id=job_id)
        return None
    house.running[token] = job_id
    context.additional_context["token"] = token
    fault: BaseException | None = None
    try:
        return await call_next()
    except BaseException as raised:
        fault = raised
        raise
    finally:
        context.additional_context["is_fenced"] = not await _end(house, token, fault)


async def _end(house: House, token: UUID, fault: BaseException | None) -> bool:
    """Close the attempt. False: it had been taken for lost, and the job is no longer ours to end."""
    outcome = "completed"
    if fault is not None:
        # A task may say by itself that it goes on elsewhere and has not failed.
        is_move = type(fault).__name__ == "MoveTo"
        outcome = "moved" if is_move else "failed"
        if isinstance(fault, asyncio.CancelledError):
            outcome = "cancelled"

    def end() -> bool:
        with house.sessions() as session:
            return attempts.end(session, token, outcome, None if outcome == "moved" else fault)

    try:
        return await asyncio.shield(house.patience.outlast(end, "close the attempt"))
    except Exception:
        # The housekeeper closes it as lost; the job's own end must not depend on this row.
        log.warning("attempt.end_not_recorded", job_id=house.running[token], outcome=outcome)
        return True
    finally:
        del house.running[token]


class JobLog:
    """Log lines of one attempt: to the process's log at once, to the database soon."""

    def __init__(self, sessions: SessionFactory, patience: Patience, job_id: int) -> None:
        self.batch_number: int | None = None
        self._job_id = job_id
        self._sessions = sessions
        self._writer: Writer[NewLine] = Writer(
            self._write, patience, rows=500, seconds=0.5, limit=5000
        )

    def info(self, message: str, **context: Any) -> None:
        self._add("info", message, context)

    def warning(self, message: str, **context: Any) -> None:
        self._add("warning", message, context)

    def error(self, message: str, **context: Any) -> None:
        self._add("error", message, context)

    def _add(self, level: str, message: str, context: dict[str, Any]) -> None:
        getattr(log, level)(message, job_id=self._job_id, **context)
        now = datetime.now(UTC)
        self._writer.add(
            NewLine(self._job_id, self.batch_number, now, level, message, context or None)
        )

    def _write(self, lines: list[NewLine]) -> None:
        with self._sessions() as session:
            logs.write(session, lines)

    async def close(self) -> None:
        """Write what is left."""
        await self._writer.close()
