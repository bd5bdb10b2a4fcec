"""The engine as the worker knows it: start a model, ask it, learn of its death, start it again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any, Literal

from app.core.engines import ModelSpec
from app.core.settings import Settings
from worker.engine import commands, logfile
from worker.engine.answers import Answer
from worker.engine.connection import Connection, Health
from worker.engine.errors import EngineError, EngineNotRunning, ShortOfMemory
from worker.engine.memory import WAIT_SECONDS, shortage, wait_for_memory
from worker.engine.process import EngineProcess, end_leftovers, make_folder
from worker.engine.run import Run
from worker.engine.sampling import sampling_defaults

EngineStatus = Literal["stopped", "starting", "ready", "failed"]

_READY_POLL_SECONDS = 0.1
_EXTERNAL_POLL_SECONDS = 1.0

logger = logging.getLogger("stoker.engine")


class Engine:
    """One engine with at most one model at a time.

    Use it from one event loop, in the thread that lives as long as the worker.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._run: Run | None = None
        self._status: EngineStatus = "stopped"
        # Called whenever the status has changed.
        self.on_status: Callable[[], object] = lambda: None
        self._spec: ModelSpec | None = None
        # The model for which there was too little memory when it was last to be loaded.
        self._too_large: ModelSpec | None = None
        self._version: str | None = None
        self._sampling_defaults: dict[str, Any] | None = None
        self._turn = asyncio.Lock()
        self._starting: asyncio.Task[None] | None = None
        self.memory_wait_seconds = WAIT_SECONDS
        self.deaths = 0

    @property
    def status(self) -> EngineStatus:
        """stopped, starting, ready, or failed (died, or could not be started)."""
        return self._status

    @property
    def spec(self) -> ModelSpec | None:
        """The model that is loaded, or was when the engine died."""
        return self._spec

    @property
    def version(self) -> str | None:
        """What the running engine calls its version."""
        return self._version

    @property
    def flags(self) -> list[str]:
        """The engine flags of the model, our defaults included; none for an external engine."""
        if self._spec is None or self._spec.is_external or self._spec.command:
            return []
        return [*commands.default_flags(self._spec), *self._spec.flags]

    @property
    def sampling_defaults(self) -> dict[str, Any] | None:
        """What applies in place of vLLM's own where a request names none; None: not known."""
        return self._sampling_defaults

    @property
    def in_flight(self) -> int:
        """Requests that await their answer."""
        return self._run.in_flight if self._run else 0

    def shortage(self) -> tuple[str, str] | None:
        """The model that could not be loaded for want of memory, and what it still lacks now."""
        spec = self._too_large
        if spec is None or self._status == "ready":
            return None
        lack = shortage(spec, commands.on_cpu())
        return None if lack is None else (spec.name, lack)

    async def start(self, spec: ModelSpec) -> None:
        """Load a model and return once it answers; what ran before is stopped.

        Raises EngineError with one sentence when it can't be started.
        """
        async with self._turn:
            await self._end("stopped")
            self._spec, self._version = spec, None
            self._set_status("starting")
            began = time.monotonic()
            self._starting = asyncio.create_task(self._start(spec))
            try:
                await self._until_started(self._starting)
            except BaseException as fault:
                await asyncio.shield(self._end("failed"))
                if isinstance(fault, OSError):  # the data folder's disk is full, say
                    raise EngineError(f"The engine of {spec.name}: {fault}.") from fault
                raise
            self._set_status("ready")
            logger.info("The model %s is ready after %.1f s.", spec.name, time.monotonic() - began)

    async def stop(self) -> None:
        """End the engine, if it runs; what is in flight raises EngineGone."""
        if self._starting is not None:
            self._starting.cancel()
        async with self._turn:
            await self._end("stopped")

    async def ask(
        self, endpoint: str, body: bytes, request_id: str, timeout_seconds: float | None = None
    ) -> Answer:
        """Have the engine answer one request; cancelling the caller makes the engine drop it.

        `endpoint` is the path, such as /v1/chat/completions; `timeout_seconds` defaults
        to the setting. Only a returned Answer is a result. Raises EngineGone (dead or stopped
        before it answered), EngineBusy (ask again later) and TimeoutError.
        """
        run = self._run
        if run is None or run.is_over or self._status != "ready":
            raise EngineNotRunning("The engine is not running.")
        return await run.ask(
            endpoint,
            body,
            request_id,
            timeout_seconds or self._settings.request_timeout_seconds,
        )

    async def metrics(self) -> dict[str, float]:
        """The engine's figures by our names (metrics.py); empty when it does not tell them."""
        if self._run is None or self._run.is_over:
            return {}
        return await self._run.connection.metrics() or {}

    def _set_status(self, status: EngineStatus) -> None:
        if status != self._status:
            self._status = status
            self.on_status()

    async def _until_started(self, starting: asyncio.Task[None]) -> None:
        try:
            await starting
        except asyncio.CancelledError:
            if starting.cancelled() and not _is_cancelled():
                raise EngineError("The engine was stopped while it started.") from None
            raise
        finally:
            starting.cancel()
            self._starting = None

    async def _start(self, spec: ModelSpec) -> None:
        if spec.is_external:
            self._run = run = Run(spec, Connection(spec, None), None)
        else:
            self._run = run = await self._spawn(spec)
        await self._until_ready(run)
        self._version = await run.connection.version()
        self._sampling_defaults = await asyncio.to_thread(sampling_defaults, spec)
        if run.is_over:
            raise EngineError(f"The engine of {spec.name} ended as soon as it was ready.")
        run.is_ready.set()
        run.on_death = lambda reason: self._mourn(run, reason)
        run.tasks.append(
            asyncio.create_task(run.watch_progress(self._settings.engine_stall_seconds))
        )

    async def _spawn(self, spec: ModelSpec) -> Run:
        if not spec.command and spec.folder is not None and not spec.folder.exists():
            raise EngineError(f"The model {spec.name} has no folder {spec.folder}.")
        run_path = self._settings.run_path
        for pid in await asyncio.to_thread(end_leftovers, run_path):
            logger.warning("An engine of an earlier run was left over (guard %d): ended.", pid)
        if not spec.command or spec.memory_bytes is not None:
            try:
                await wait_for_memory(spec, commands.on_cpu(), self.memory_wait_seconds)
            except ShortOfMemory:
                self._too_large = spec
                raise
            self._too_large = None
        log = logfile.path_for(self._settings.logs_path, spec.name)
        logfile.rotate(log)
        folder = make_folder(run_path)
        socket = folder / "http"
        process = await EngineProcess.spawn(
            commands.command_line(spec, socket),
            commands.environment(spec, folder, self._settings.var_path / "cache" / "vllm"),
            working_folder=spec.registry_folder,
            folder=folder,
            run_path=run_path,
            log=log,
        )
        run = Run(spec, Connection(spec, socket), process)
        run.tasks.append(asyncio.create_task(run.watch_exit()))
        follow = logfile.follow(log, run.is_ready, lambda: run.is_over)
        run.tasks.append(asyncio.create_task(follow))
        return run

    async def _until_ready(self, run: Run) -> None:
        limit = self._settings.engine_start_seconds
        deadline = time.monotonic() + limit
        poll = _READY_POLL_SECONDS if run.process else _EXTERNAL_POLL_SECONDS
        while await run.connection.health() is not Health.GOOD:
            if run.is_over:
                log = logfile.path_for(self._settings.logs_path, run.spec.name)
                raise EngineError(
                    f"The engine of {run.spec.name} ended while starting: {logfile.reason(log)}"
                )
            if time.monotonic() >= deadline:
                where = f" at {run.spec.url}" if run.spec.is_external else ""
                raise EngineError(
                    f"The engine of {run.spec.name}{where} was not ready within {limit:g} s."
                )
            await asyncio.wait({run.death}, timeout=poll)

    def _mourn(self, run: Run, reason: str) -> None:
        """A run died: count it, and end whatever is left of it at once."""
        self.deaths += 1
        if run.process is not None:
            log = logfile.path_for(self._settings.logs_path, run.spec.name)
            run.ran_out_of_memory = logfile.tells_of_memory(log)
        if self._run is run:
            self._set_status("failed")
        logger.error("The engine of %s died: %s", run.spec.name, reason)
        run.tasks.append(asyncio.create_task(run.bury()))

    async def _end(self, status: EngineStatus) -> None:
        """End the run, if there is one, and all that belongs to it."""
        run, self._run = self._run, None
        self._set_status(status)
        if run is None:
            return
        run.die(None)
        if run.process is not None:
            await run.process.end()
        await run.connection.close()
        for task in run.tasks:
            task.cancel()
        for task in run.tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task


def _is_cancelled() -> bool:
    """Whether our own caller was cancelled, not only the task it awaited."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
