"""Whose turn it is: one model in the engine at a time, kept alive, swapped when another is due."""

from __future__ import annotations

import asyncio
import contextlib
import time
from datetime import UTC, datetime
from typing import Protocol

import structlog

from app.core import admission, queue
from app.core.db import SessionFactory
from app.core.engines import ModelSpec, RegistryFile
from app.core.errors import NotFound
from app.core.settings import Settings
from worker.engine import Engine, EngineError
from worker.outages import is_outage
from worker.window import Narrowing, Window

log = structlog.get_logger(__name__)

_LONGEST_PAUSE_SECONDS = 30.0
# How long requests may go on when their batch has to give way to another model.
_YIELD_SECONDS = 60.0
# How long the reason of a failed start is kept for a batch that is on its way to hear it.
_TELL_SECONDS = 10.0


class EngineUnavailable(Exception):
    """The engine could not be started often enough in a row; the message says why."""


class Run(Protocol):
    """A batch that is in the engine, as far as turns are concerned."""

    priority: int

    @property
    def has_unsent(self) -> bool:
        """Whether requests of it still wait for a slot."""

    def stop(self, reason: str, seconds: float) -> None:
        """Send nothing more; what is in flight may go on for so long."""


class Turns:
    """Owns the engine. `keep` runs as long as the worker."""

    def __init__(
        self, settings: Settings, registry: RegistryFile, sessions: SessionFactory, engine: Engine
    ) -> None:
        self.settings = settings
        self.registry = registry
        self.sessions = sessions
        self.engine = engine
        self.runs: set[Run] = set()
        # Jobs fetched for the loaded model that are not yet among `runs`.
        self.coming: set[int] = set()
        self.window = Window(1)
        self.active: str | None = None
        self.active_since: datetime | None = None
        self.load_seconds: float | None = None
        self.generation = 0
        self.error: str | None = None
        self._max_sequences = 1
        self._narrowing = Narrowing()
        self._failures = 0
        self._is_broken = False
        self._gave_up_at = 0.0
        self._wants_batch = False
        self._ready = asyncio.Event()
        self._settled = asyncio.Event()
        self._woken = asyncio.Event()
        self.is_stopping = False

    # What the queue's fetch asks for.

    def queues(self) -> list[str]:
        """The queue of the model whose turn it is, while there is room for another batch."""
        if self.is_stopping or self.coming or not self._wants_batch or self.active is None:
            return ["-"]
        return [queue.model_queue(self.active)]

    # What a run needs.

    async def ready(self) -> None:
        """Wait for the engine. Raises EngineUnavailable when it can't be started."""
        while not self._ready.is_set():
            if self.error is not None:
                # One batch fails for it; the next one has the engine tried again.
                reason, self.error = self.error, None
                self._settled.clear()
                raise EngineUnavailable(reason)
            await self._settled.wait()

    @property
    def is_ready(self) -> bool:
        """Whether the engine can be asked now."""
        return self._ready.is_set()

    def report_death(self, generation: int) -> None:
        """A request that was sent to the engine of this generation found it gone."""
        if generation == self.generation and self._ready.is_set():
            self._ready.clear()
            self._settled.clear()
            self._woken.set()

    def narrow(self, size_then: int) -> bool:
        """The engine's memory ran out with that window: halve what is in flight at once.

        False: one request alone was too much. What was sent before it was halved halves it no further.
        """
        if self.window.size < size_then:
            return True
        size = min(size_then, self.window.in_use, self._max_sequences) // 2
        if size < 1:
            return False
        assert self.active is not None
        self._narrowing.begin(self.active, size)
        self.window.resize(size)
        log.warning("engine.out_of_memory", model=self.active, in_flight_from_now=size)
        return True

    # The loop.

    async def keep(self) -> None:
        """Load, watch and swap models until told to stop."""
        if self.settings.preload:
            await self._preload()
        while not self.is_stopping:
            try:
                await self._look()
            except Exception as fault:
                if not is_outage(fault):
                    log.exception("turns.failed")
            self._woken.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), self.settings.poll_seconds)

    async def stop(self, seconds: float) -> None:
        """Let runs drain for so long; the engine is stopped afterwards by `close`."""
        self.is_stopping = True
        self._woken.set()
        for run in list(self.runs):
            run.stop("shutdown", seconds)

    async def close(self) -> None:
        """Stop the engine."""
        await self.engine.stop()

    async def _preload(self) -> None:
        def last_model() -> str | None:
            with self.sessions() as session:
                worker = queue.live_worker(session)
                return worker.current_model if worker else None

        try:
            model = await asyncio.to_thread(last_model)
        except Exception:
            model = None
        models = self.registry.read().models
        if model not in models:
            model = next(iter(models), None)
        if model is not None:
            await self._load(model)

    async def _look(self) -> None:
        arriving, waiting = await asyncio.to_thread(self._read)
        due = queue.next_model(
            waiting,
            active=self.active,
            active_since=self.active_since,
            now=datetime.now(UTC),
            turn_seconds=self.settings.model_turn_seconds,
        )
        is_needed = bool(self.runs or self.coming) or any(
            entry.model == self.active for entry in waiting
        )
        self._wants_batch = (
            due == self.active
            and (self.is_ready or self.error is not None)
            and self._has_room(waiting)
        )
        if self._narrowing.has_passed() and self.is_ready and self.engine.spec is not None:
            self._resize(self.engine.spec)
        if due is not None and due != self.active:
            if self._is_overdue(waiting, due):
                for run in list(self.runs):
                    run.stop("yield", _YIELD_SECONDS)
            is_idle = not self.runs and not self.coming
            if is_idle and not (self.is_ready and queue.is_early(arriving, waiting, due)):
                await self._load(due)
        elif self.error is not None:
            # A batch is being fetched to be told why. If none comes, there is nobody to tell.
            if not is_needed and time.monotonic() - self._gave_up_at > _TELL_SECONDS:
                self.error = None
                self._settled.clear()
        elif (
            self.active is not None
            and (self.engine.status != "ready" or not self.is_ready)
            and (is_needed or not self._is_broken)
        ):
            await self._load(self.active)

    def _read(self) -> tuple[tuple[int, int] | None, list[queue.WaitingModel]]:
        with self.sessions() as session:
            holds = admission.read(session, self.settings)
            arriving = queue.first_arriving(session)
            if holds.is_full:
                return arriving, []
            return arriving, queue.list_waiting_models(session, holds.crowded)

    def _has_room(self, waiting: list[queue.WaitingModel]) -> bool:
        """One batch on deck is enough, unless a more urgent one waits behind it."""
        if len(self.runs) >= self.settings.max_running_batches:
            return False
        unsent = [run for run in self.runs if run.has_unsent]
        urgent = max(
            (entry.priority for entry in waiting if entry.model == self.active), default=-9
        )
        return len(unsent) < 2 or urgent > max(run.priority for run in unsent)

    def _is_overdue(self, waiting: list[queue.WaitingModel], due: str) -> bool:
        """Whether `due` is due by the fairness bound, which running batches must respect."""
        if self.active_since is None:
            return False
        now = datetime.now(UTC)
        bound = self.settings.model_turn_seconds
        return (now - self.active_since).total_seconds() >= bound and any(
            entry.model == due and (now - entry.oldest_at).total_seconds() >= bound
            for entry in waiting
        )

    async def _load(self, model: str) -> None:
        """Bring `model` into the engine; after a failure wait longer each time."""
        self._ready.clear()
        self._settled.clear()
        self.error = None
        if model != self.active:
            self._failures = 0
        try:
            spec = self.registry.read().get(model)
        except NotFound as fault:
            self._give_up(model, fault.message)
            return
        self._set_active(model)
        begun = time.monotonic()
        try:
            await self.engine.start(spec)
        except EngineError as fault:
            await self._failed(model, str(fault))
            return
        self._failures = 0
        self._is_broken = False
        self.load_seconds = time.monotonic() - begun
        self._resize(spec)
        self.generation += 1
        self._ready.set()
        self._settled.set()
        log.info("engine.ready", model=model, seconds=round(self.load_seconds, 1))

    def _resize(self, spec: ModelSpec) -> None:
        # Our default flags count too: they say how much the engine computes at once.
        flags = tuple(self.engine.flags) or spec.flags
        spec = spec.model_copy(update={"flags": flags})
        size, self._max_sequences = spec.request_window(), spec.max_sequences()
        size = self._narrowing.limit(spec.name, size)
        if self.runs:
            self.window.resize(size)
        else:
            self.window = Window(size)

    async def _failed(self, model: str, reason: str) -> None:
        self._failures += 1
        log.error("engine.start_failed", model=model, try_number=self._failures, error=reason)
        if self._failures >= self.settings.engine_restart_limit:
            self._give_up(model, reason)
            return
        with contextlib.suppress(TimeoutError):
            pause = min(2.0 ** (self._failures - 1), _LONGEST_PAUSE_SECONDS)
            await asyncio.wait_for(self._stopped(), pause)

    def _give_up(self, model: str, reason: str) -> None:
        """Let what waits for this model fail with the reason instead of waiting for ever."""
        self._set_active(model)
        self.error = reason
        self._failures = 0
        self._is_broken = True
        self._gave_up_at = time.monotonic()
        self._settled.set()

    def _set_active(self, model: str) -> None:
        """Its turn begins when it is loaded in another's place, not when its engine restarts."""
        if model != self.active:
            self.active_since = datetime.now(UTC)
        self.active = model

    async def _stopped(self) -> None:
        while not self.is_stopping:
            await asyncio.sleep(0.1)
