"""A batch in the engine: its requests go through the window, its results to the writer."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from typing import Protocol

import structlog

from app.core.models import Batch
from app.core.results import NewResult
from app.core.suspects import DEATHS_BEFORE_ALONE
from worker import endings
from worker.asks import Ask, Asks
from worker.bodies import BodyReader, RefusedRequest
from worker.engine import EngineBusy, EngineGone, EngineNotRunning
from worker.outages import Patience, is_outage
from worker.recording import JobLog
from worker.suspects import Suspects
from worker.turns import Turns
from worker.window import Rank
from worker.writer import Writer

log = structlog.get_logger(__name__)

_TRIES = 3
_LOOK_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 10.0


class BatchStatus(Protocol):
    """Looks at the batch's row: its status, or LeaseLost."""

    def __call__(self) -> str: ...


class BatchRun:
    """Runs what has no result yet. `reason` says why it ended before all was answered."""

    def __init__(
        self,
        batch: Batch,
        asks: Asks,
        *,
        turns: Turns,
        patience: Patience,
        writer: Writer[NewResult],
        reader: BodyReader,
        look: BatchStatus,
        begin: Callable[[], None],
        suspects: Suspects,
        job_log: JobLog,
    ) -> None:
        self.batch = batch
        self.priority = batch.priority
        self.reason: str | None = None
        self._turns = turns
        self._patience = patience
        self._writer = writer
        self._reader = reader
        self._look = look
        self._begin = begin
        self._suspects = suspects
        self._log = job_log
        self._rank: Rank = (-batch.priority, batch.number)
        self._asks = asks
        self._in_flight: dict[asyncio.Task[None], Ask] = {}
        self._tag = secrets.token_hex(3)
        self._changed = asyncio.Event()
        self._stopped = asyncio.Event()
        self._hurried = asyncio.Event()
        self._drain_seconds = 0.0
        self._has_begun = False

    @property
    def has_unsent(self) -> bool:
        return self._asks.has_next or self._asks.has_alone or self._asks.has_deadly

    def stop(self, reason: str, seconds: float) -> None:
        """Send nothing more; what is in flight may go on for so long. 0 ends an earlier stop's wait."""
        if self._stopped.is_set() and seconds == 0:
            self.reason = reason
            self._hurried.set()
        elif not self._stopped.is_set():
            self.reason = reason
            self._drain_seconds = seconds
            self._stopped.set()

    async def run(self) -> str | None:
        """Answer everything, or stop early; returns the reason of that (None: all answered).

        Raises LeaseLost, and EngineUnavailable when the engine can't be started.
        """
        if self._turns.active != self.batch.model or self._turns.is_stopping:
            # Its turn ended between the fetch and now: another model must not be asked.
            await self._writer.close()
            return "yield"
        self._turns.runs.add(self)
        produce = asyncio.create_task(self._produce())
        watch = asyncio.create_task(self._watch())
        stopped = asyncio.create_task(self._stopped.wait())
        failed = asyncio.create_task(self._writer.failed.wait())
        try:
            waits = {produce, watch, stopped, failed}
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if produce in done:
                produce.result()
            if watch in done:
                watch.result()
            await _end(produce)
            await self._drain()
        finally:
            for task in (produce, watch, stopped, failed):
                await _end(task)
            await self._abandon()
            self._turns.runs.discard(self)
            await self._writer.close()
        return self.reason

    async def _watch(self) -> None:
        """Notice a cancel, the end of the completion window, and a lost lease."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                status = await asyncio.to_thread(self._look)
            except Exception as fault:
                if is_outage(fault):
                    continue
                raise
            if status != "in_progress":
                # A cancel lets the engine finish what it has, within the bound of a drain; where one goes
                # on already, it ends that.
                is_patient = status == "cancelling" and not self._stopped.is_set()
                self.stop(status, self._turns.settings.worker_drain_seconds if is_patient else 0)
                return

    async def _produce(self) -> None:
        while self.has_unsent or self._in_flight:
            self._changed.clear()
            await self._suspects.note_casualties()
            if self._asks.has_deadly:
                ask = self._asks.take_deadly()
                self._log.error("a request is given up", line=ask.line, deaths=ask.deaths)
                self._finish(ask, endings.deadly(self.batch, ask))
                continue
            await self._turns.ready()
            await self._writer.room()
            if self._asks.has_next:
                await self._send()
            elif self._in_flight:
                await self._changed.wait()
            elif self._asks.has_alone:
                await self._send_alone()

    async def _send(self) -> None:
        window = self._turns.window
        await window.acquire(self._rank)
        # The engine may have died while we waited; what was left may be for asking alone now.
        if not self._asks.has_next or not self._turns.is_ready:
            window.release()
            return
        try:
            await self._begin_once()
            ask = self._asks.take()
            await self._suspects.send(ask)
        except BaseException:
            window.release()
            raise
        task = asyncio.create_task(self._answer(ask))
        self._in_flight[task] = ask
        task.add_done_callback(lambda done: self._landed(done, window.release))

    def _landed(self, task: asyncio.Task[None], release: Callable[[], None]) -> None:
        self._in_flight.pop(task, None)
        release()
        self._changed.set()
        if not task.cancelled() and (fault := task.exception()) is not None:
            log.error("request.failed", batch=self.batch.id, exc_info=fault)
            self.stop("error", 0)

    async def _send_alone(self) -> None:
        """A request that was in the engine at two of its deaths, with nobody else to be harmed."""
        async with self._turns.window.exclusive():
            if not self._turns.is_ready:  # another batch's request has killed it meanwhile
                return
            await self._begin_once()
            ask = self._asks.take_alone()
            await self._suspects.send(ask, is_alone=True)
            task = asyncio.create_task(self._answer(ask))
            self._in_flight[task] = ask
            try:
                await task
            finally:
                self._in_flight.pop(task, None)

    async def _begin_once(self) -> None:
        if not self._has_begun:
            await self._patience.outlast(self._begin, "begin")
            self._has_begun = True

    async def _answer(self, ask: Ask) -> None:
        try:
            body = self._reader.read(ask.position, ask.length)
        except RefusedRequest as refusal:
            self._finish(ask, endings.refused(self.batch, ask, refusal))
            return
        pause = 0.5
        while True:
            ask.tries += 1
            generation, size = self._turns.generation, self._turns.window.size
            try:
                answer = await self._turns.engine.ask(
                    self.batch.endpoint,
                    body,
                    f"{endings.result_id(self.batch, ask)}-{self._tag}{ask.deaths}",
                    self._turns.settings.request_timeout_seconds,
                )
            except EngineNotRunning:
                self._turns.report_death(generation)
                self._asks.put_back(ask)
                return
            except EngineGone as death:
                self._turns.report_death(generation)
                if self._suspects.engine_died(generation):
                    self._log.warning("the engine died", reason=str(death))
                if not (death.ran_out_of_memory and self._narrow(ask, size)):
                    self._suspects.lose(ask)
                    ask.deaths += 1
                self._asks.put_back(ask)
                return
            except EngineBusy:
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
                continue
            except TimeoutError:
                self._finish(ask, endings.timed_out(self.batch, ask))
                return
            if answer.ran_out_of_memory and self._narrow(ask, size):
                self._asks.put_back(ask)
                return
            if answer.status_code >= 500 and ask.tries < _TRIES:
                await asyncio.sleep(pause)
                continue
            self._finish(ask, endings.answered(self.batch, ask, answer))
            return

    def _narrow(self, ask: Ask, size: int) -> bool:
        """The engine's memory ran out under a request: no fault of it, where it was not alone."""
        if ask.deaths >= DEATHS_BEFORE_ALONE:
            return False
        before = self._turns.window.size
        if not self._turns.narrow(size):
            return False
        if self._turns.window.size < before:
            self._log.warning(
                "the engine's memory ran out: fewer requests at once",
                before=before,
                now=self._turns.window.size,
            )
        return True

    def _finish(self, ask: Ask, result: NewResult) -> None:
        self._suspects.end(ask)
        self._writer.add(result)

    async def _drain(self) -> None:
        if self._in_flight and self._drain_seconds > 0 and self.reason is not None:
            answered = asyncio.create_task(_all_done(set(self._in_flight)))
            hurried = asyncio.create_task(self._hurried.wait())
            await asyncio.wait(
                {answered, hurried},
                timeout=self._drain_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            await _end(answered)
            await _end(hurried)

    async def _abandon(self) -> None:
        """Drop what is still in flight; the engine stops working on it."""
        for task in list(self._in_flight):
            await _end(task)
        with contextlib.suppress(Exception):  # only makes the next run a little less careful
            await self._suspects.note_casualties()


async def _all_done(tasks: set[asyncio.Task[None]]) -> None:
    await asyncio.wait(tasks)


async def _end(task: asyncio.Task[object] | asyncio.Task[None] | asyncio.Task[bool]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        await task
