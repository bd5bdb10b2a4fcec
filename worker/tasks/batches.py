"""The task `run_batch`: validate, wait for the model's turn, answer, finalise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

from procrastinate import BaseRetryStrategy, JobContext, RetryDecision
from procrastinate.exceptions import JobAborted
from procrastinate.job_context import AbortReason
from procrastinate.jobs import Job
from sqlalchemy import exists, func, select, update
from sqlalchemy.orm import Session

from app.core import attempts, batches, jobs, queue, results, stops, storage, suspects
from app.core.models import FINAL, Attempt, Batch
from app.core.results import LeaseLost, NewResult
from worker import record, steps
from worker.asks import Asks, read_unanswered
from worker.bodies import BodyReader
from worker.house import House
from worker.outages import is_outage
from worker.recording import JobLog
from worker.run import BatchRun
from worker.suspects import Suspects
from worker.tasks.app import app
from worker.turns import EngineUnavailable
from worker.writer import Writer

T = TypeVar("T")

# The names under which this module's tasks are deferred.
TASKS = {batches.TASK}

# Errors of our own or of the disk; crashes and moves between queues do not count.
_FAILURES_BEFORE_GIVING_UP = 3


class MoveTo(Exception):
    """Not an error: the job goes on in a queue, as soon as it is fetched from there.

    `seconds` put off when that may be.
    """

    stoker_outcome = "moved"

    def __init__(self, queue: str, *, seconds: float = 0) -> None:
        super().__init__(f"goes on in queue {queue}")
        self.queue = queue
        self.seconds = seconds


class _Retry(BaseRetryStrategy):
    """Moves at once; errors again later, with the batch's own limit (see `_give_up`)."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        if isinstance(exception, MoveTo):
            return RetryDecision(retry_in={"seconds": 0}, queue=exception.queue)
        if isinstance(exception, BatchFailed | LeaseLost | JobAborted):
            return None
        return RetryDecision(retry_in={"seconds": 5})


class BatchFailed(Exception):
    """The batch failed or expired for this; the job fails with it and is not tried again."""


@app.task(name=batches.TASK, queue=batches.QUEUE, retry=_Retry(), pass_context=True)
async def run_batch(context: JobContext, batch_id: str) -> dict[str, int] | None:
    """Bring a batch as far as it can go; every way out leaves it final or its job queued."""
    house: House = context.additional_context["house"]
    assert context.job.id is not None
    token: UUID = context.additional_context["token"]
    step = BatchStep(house, token, context.job)
    batch: Batch | None = None
    try:
        batch = await step.lease(batch_id)
        if batch is None:
            return None
        step.log.batch_number = batch.number
        await step.go_through_outages(batch)
    except (MoveTo, LeaseLost, BatchFailed, JobAborted):
        raise
    except asyncio.CancelledError:
        this = asyncio.current_task()
        if this is None or context.abort_reason() is not AbortReason.USER_REQUEST:
            raise
        # What was in the engine and in a helper is gone by now; what was answered is kept.
        this.uncancel()
        await step.end_aborted(batch_id)
    except Exception as fault:
        if batch is not None:
            await step.give_up_if_hopeless(batch, fault)
        raise
    finally:
        await step.log.close()
    counts = await step.counts(batch_id)
    step.say_counts(counts)
    return counts


class BatchStep:
    """One attempt at a batch."""

    def __init__(self, house: House, token: UUID, job: Job) -> None:
        assert job.id is not None
        self.house = house
        self.token = token
        self.job_id = job.id
        self.queue = job.queue
        self.log = JobLog()
        # Taken here: the threads of a run have no context.
        self._record = record.current()
        self._answered = 0
        self._total: int | None = None

    async def lease(self, batch_id: str) -> Batch | None:
        """Put this attempt's token on the batch. None: it is gone, final or another's."""

        def lease(session: Session) -> Batch | None:
            batch = session.scalar(
                update(Batch)
                .where(Batch.id == batch_id, Batch.status.not_in(FINAL))
                .where(Batch.job_id == self.job_id)
                .where(
                    exists()
                    .where(Attempt.job_id == self.job_id, Attempt.token == self.token)
                    .where(Attempt.outcome.is_(None))
                )
                .values(attempt_token=self.token)
                .returning(Batch)
            )
            session.commit()
            return batch

        return await self._in_thread(lease)

    async def end_aborted(self, batch_id: str) -> None:
        """Write the files of a batch whose job is aborted. Raises JobAborted."""
        self.log.warning("aborted")
        batch = await self.lease(batch_id)
        if batch is not None and batch.status == "cancelling":
            await self.go_through_outages(batch)
        raise JobAborted("The job was aborted.")

    async def go_through_outages(self, batch: Batch) -> None:
        """As `go`; what an outage of the database breaks off goes on from what was written."""
        found: Batch | None = batch
        pause = 0.1
        while found is not None:
            try:
                await self.go(found)
                return
            except Exception as fault:
                if not is_outage(fault):
                    raise
                self.log.warning("waiting for the database", error=type(fault).__name__)
                pause = await self.house.patience.rest(fault, pause, "batch")
            found = await self.lease(batch.id)

    async def go(self, batch: Batch) -> None:
        """The step that the batch's status asks for, and those that follow from it."""
        if batch.errors:
            # It has cost too many workers: only its end is to be written.
            await self._fail(batch, batch.errors[0]["code"], batch.errors[0]["message"])
        elif batch.status == "validating" and batch.expires_at > datetime.now(UTC):
            await self._validate(batch)
        elif batch.status == "finalizing":
            await self._finalize(batch, "completed")
        elif batch.status == "cancelling":
            await self._finalize(batch, "cancelled")
        elif batch.expires_at <= datetime.now(UTC):
            await self._finalize(batch, "expired")
        elif self.queue != queue.model_queue(batch.model or ""):
            raise MoveTo(queue.model_queue(batch.model or ""))
        else:
            await self._run(batch)

    async def _validate(self, batch: Batch) -> None:
        self.log.info("validating", file=batch.input_file_id)
        self._say("Validating the file", 0)
        models = {
            name: tuple(spec.endpoints) for name, spec in self.house.registry.read().models.items()
        }
        try:
            findings = await self.house.helpers.call(
                steps.validate_file, self.house.settings, batch.id, self.token, models
            )
        except FileNotFoundError:
            await self._fail(batch, "file_not_found", "The input file is gone.")
            return
        except LeaseLost:
            # Either the batch is another attempt's now, or it was cancelled meanwhile.
            found = await self.lease(batch.id)
            if found is None or found.status == "validating":
                raise
            await self.go(found)
            return
        if findings.errors:
            first = findings.errors[0]
            self.log.error("validation failed", line=first.line, error=str(first))
            where = f"Line {first.line}: " if first.line else ""
            raise BatchFailed(f"{where}{first}")
        self.log.info("validated", requests=findings.total, model=findings.model)
        self._say(f"Waiting for {findings.model}", 0, findings.total)
        raise MoveTo(queue.model_queue(findings.model or ""))

    async def _run(self, batch: Batch) -> None:
        settings = self.house.settings
        is_careful, asks = await self._in_thread(lambda session: self._gather(session, batch))
        self.log.info("running", requests=len(asks), model=batch.model)
        if is_careful:
            self.log.warning("a worker died of this batch before: what is sent is noted")
        self._answered, self._total = batch.total - len(asks), batch.total
        self._say(f"Waiting for {batch.model}", self._answered, self._total)
        writer: Writer[NewResult] = Writer(
            lambda rows: self._write(batch, rows),
            self.house.patience,
            rows=settings.flush_rows,
            seconds=settings.flush_seconds,
            limit=max(4 * settings.flush_rows, 1024),
        )
        path = storage.path(settings, batch.input_file_id)
        with BodyReader(path, settings.media_hosts) as reader:
            run = BatchRun(
                batch,
                asks,
                turns=self.house.turns,
                patience=self.house.patience,
                writer=writer,
                reader=reader,
                look=lambda: self._look(batch),
                begin=lambda: self._begin(batch),
                job_log=self.log,
                suspects=Suspects(
                    self.house.sessions,
                    self.house.patience,
                    batch.number,
                    self.token,
                    is_careful=is_careful,
                ),
            )
            try:
                # From here on the turns know it as a run: nothing is awaited in between.
                self.house.turns.coming.discard(self.job_id)
                reason = await run.run()
            except EngineUnavailable as fault:
                await self._fail(batch, "engine_unavailable", f"The engine can't start: {fault}")
                return
        self.log.info("answered" if reason is None else f"stopped: {reason}")
        await self._follow(batch, reason)

    def _gather(self, session: Session, batch: Batch) -> tuple[bool, Asks]:
        """What is to be asked, and whether a worker has died of this batch before."""
        is_careful = attempts.count(session, self.job_id, "lost") > 0
        suspects.count_lost(session, batch.number, self.job_id, self.token)
        return is_careful, read_unanswered(session, batch.number)

    async def _follow(self, batch: Batch, reason: str | None) -> None:
        match reason:
            case None:
                await self._finalize(batch, "completed")
            case "cancelling":
                await self._finalize(batch, "cancelled")
            case "expired":
                await self._finalize(batch, "expired")
            case "shutdown" | "yield":
                raise MoveTo(queue.model_queue(batch.model or ""))
            case _:
                raise RuntimeError(f"the run ended with {reason}")

    async def _finalize(
        self, batch: Batch, status: str, errors: list[dict[str, object]] | None = None
    ) -> None:
        self._say("Writing the result files", self._answered, self._total)
        if status == "cancelled":
            await self._in_thread(self._acknowledge)
        try:
            await self.house.helpers.call(
                steps.finalize, self.house.settings, batch.id, self.token, status, errors
            )
        except LeaseLost:
            # It may have been cancelled in the moment in which all was answered.
            found = await self.lease(batch.id)
            if status == "cancelled" or found is None or found.status != "cancelling":
                raise
            await self._finalize(found, "cancelled")
        self.log.info(status)
        if status == "cancelled":
            raise JobAborted("The batch was cancelled.")
        if status == "expired":
            raise BatchFailed("The completion window was over before all requests were answered.")

    async def _fail(self, batch: Batch, code: str, message: str) -> None:
        """Fail the batch; results that exist are kept in its output file."""
        self.log.error(message)
        error: dict[str, object] = {"code": code, "line": None, "message": message, "param": None}
        await self._finalize(batch, "failed", [error])
        raise BatchFailed(message)

    async def give_up_if_hopeless(self, batch: Batch, fault: Exception) -> None:
        """After so many errors the batch fails instead of being tried for ever."""
        self.log.error("error", error=f"{type(fault).__name__}: {fault}")
        failures = await self._in_thread(
            lambda session: attempts.count(session, self.job_id, "failed")
        )
        if failures + 1 >= _FAILURES_BEFORE_GIVING_UP:
            await self._fail(batch, "internal_error", f"{type(fault).__name__}: {fault}")

    def _say(self, message: str, done: int, total: int | None = None) -> None:
        """Say in the job's record how far it is; threads of the run may, too."""
        if self._record is not None:
            self._record.progress(done, total, message)

    def say_counts(self, counts: dict[str, int]) -> None:
        """The last word on a batch that was answered to its end."""
        answered, failed, total = counts["completed"], counts["failed"], counts["total"]
        self._say(f"Answered {answered} of {total}, {failed} failed", answered + failed, total)

    async def counts(self, batch_id: str) -> dict[str, int]:
        """The job's result: how many requests came out how."""

        def read(session: Session) -> dict[str, int]:
            batch = batches.get(session, batch_id, None)
            return {"total": batch.total, "completed": batch.completed, "failed": batch.failed}

        return await self._in_thread(read)

    async def _in_thread(self, work: Callable[[Session], T]) -> T:
        def run() -> T:
            with self.house.sessions() as session:
                return work(session)

        return await self.house.patience.outlast(run, "batch")

    # These run in threads of the run's own choosing.

    def _write(self, batch: Batch, rows: list[NewResult]) -> None:
        with self.house.sessions() as session:
            results.write(session, batch, self.token, rows)
        self._answered += len(rows)
        self._say("Answering", self._answered, self._total)
        usage = [row.usage for row in rows]
        self.house.tokens.add(sum(each.input_tokens + each.output_tokens for each in usage))

    def _look(self, batch: Batch) -> str:
        has_expired = Batch.expires_at <= func.clock_timestamp()
        with self.house.sessions() as session:
            row = session.execute(
                select(Batch.status, has_expired).where(
                    Batch.id == batch.id, Batch.attempt_token == self.token
                )
            ).one_or_none()
        if row is None:
            raise LeaseLost(batch.id)
        status, is_over = row.tuple()
        if status == "cancelling":
            with self.house.sessions() as session:
                self._acknowledge(session)
        return "expired" if is_over and status == "in_progress" else status

    def _acknowledge(self, session: Session) -> None:
        stops.acknowledge(session, self.job_id)
        session.commit()

    def _begin(self, batch: Batch) -> None:
        """The first request has a slot: the batch runs from now on."""
        turns = self.house.turns
        spec = turns.registry.read().models.get(batch.model or "")
        engine = {
            "version": turns.engine.version,
            "flags": list(turns.engine.flags),
            "sampling_defaults": turns.engine.sampling_defaults,
            "model": spec.source if spec else None,
            "revision": spec.revision if spec else None,
        }
        with self.house.sessions() as session:
            session.execute(
                update(Batch)
                .where(Batch.id == batch.id, Batch.attempt_token == self.token)
                .values(
                    in_progress_at=func.coalesce(Batch.in_progress_at, func.clock_timestamp()),
                    engine=engine,
                    model_load_seconds=turns.load_seconds,
                )
            )
            jobs.announce(session, "batch", batch.id)
            session.commit()
