"""One run of an engine, from its start to its death: what is in flight, and whether it moves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from app.core.engines import ModelSpec
from worker.engine.answers import Answer, tells_of_death
from worker.engine.connection import LOST, PROBE_SECONDS, Connection, Health
from worker.engine.errors import EngineBusy, EngineGone
from worker.engine.metrics import progress
from worker.engine.process import EngineProcess

_LONGEST_WATCH_SECONDS = 2.0
# A killed EngineCore is noticed by its server within 0.2 s.
_LAST_WORDS_SECONDS = 0.5
_BUSY_STATUSES = (429, 503)


class Run:
    """An engine that was started (or found at its URL), until it dies or is stopped."""

    def __init__(
        self, spec: ModelSpec, connection: Connection, process: EngineProcess | None
    ) -> None:
        self.spec = spec
        self.connection = connection
        self.process = process
        self.in_flight = 0
        self.answered = 0
        self.is_ready = asyncio.Event()
        # Its result is why the engine died; None when it was stopped on purpose.
        self.death: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self.ran_out_of_memory = False
        # Called at once with the reason when it dies.
        self.on_death: Callable[[str], None] | None = None
        self.tasks: list[asyncio.Task[None]] = []
        self._probe = asyncio.Lock()

    @property
    def is_over(self) -> bool:
        """Whether it died or was stopped."""
        return self.death.done()

    def die(self, reason: str | None) -> None:
        """Declare the end, once; the first reason stays."""
        if not self.death.done():
            self.death.set_result(reason)
            self.is_ready.clear()  # what the engine says of its end is no news
            if reason is not None and self.on_death is not None:
                self.on_death(reason)

    async def ask(
        self, endpoint: str, body: bytes, request_id: str, timeout_seconds: float
    ) -> Answer:
        """See Engine.ask."""
        self.in_flight += 1
        try:
            answer = await self._ask(endpoint, body, request_id, timeout_seconds)
        finally:
            self.in_flight -= 1
        self.answered += 1
        return answer

    async def _ask(
        self, endpoint: str, body: bytes, request_id: str, timeout_seconds: float
    ) -> Answer:
        for is_last in (False, True):
            try:
                answer = await self.connection.post(endpoint, body, request_id, timeout_seconds)
            except TimeoutError:
                raise
            except LOST as fault:
                await self._raise_if_gone(str(fault) or type(fault).__name__)
                if is_last:
                    raise EngineBusy(f"The connection broke twice: {fault}.") from fault
                continue
            if answer.status_code < 500 and answer.status_code not in _BUSY_STATUSES:
                return answer
            if tells_of_death(answer.body):
                self.die("The engine's core died.")
            await self._raise_if_gone(f"it answered {answer.status_code}")
            if answer.status_code in _BUSY_STATUSES:
                raise EngineBusy(f"The engine answered {answer.status_code}.")
            return answer
        raise AssertionError("unreachable")

    async def _raise_if_gone(self, sign: str) -> None:
        """Raise EngineGone if the engine is dead or dying; its first mourner asks for all."""
        async with self._probe:
            if not self.is_over:
                await asyncio.wait({self.death}, timeout=0.02)
            if not self.is_over and await self.connection.health() is Health.BAD:
                # Its exit says more than its silence: wait for that a moment.
                await asyncio.wait({self.death}, timeout=_LAST_WORDS_SECONDS)
                self.die(f"The engine is not healthy ({sign}).")
        if self.is_over:
            raise EngineGone(
                self.death.result() or "The engine was stopped.",
                ran_out_of_memory=self.ran_out_of_memory,
            )

    async def bury(self) -> None:
        """End whatever is left of it at once; who still waits for an answer learns of the death."""
        if self.process is not None:
            await self.process.end(at_once=True)
        await self.connection.close()

    async def watch_exit(self) -> None:
        """Declare the death when the process ends by itself."""
        assert self.process is not None
        code = await self.process.wait()
        self.die(f"The engine's process ended with exit code {code}.")

    async def watch_progress(self, stall_seconds: float) -> None:
        """Declare the death of an engine that is frozen: it neither answers nor makes tokens.

        Time counts only as far as this task was awake to look: a paused machine is no stall.
        """
        interval = min(_LONGEST_WATCH_SECONDS, stall_seconds / 10)
        patience = max(0.1, min(PROBE_SECONDS, stall_seconds / 4))
        mark: tuple[float, ...] | None = None
        stalled = 0.0
        while True:
            before = time.monotonic()
            await asyncio.sleep(interval)
            found = await self._progress(patience)
            elapsed = min(time.monotonic() - before, 2 * (interval + patience))
            if found is None or (found == mark and self.in_flight):
                stalled += elapsed
            else:
                stalled, mark = 0.0, found
            if stalled >= stall_seconds:
                what = "does not answer" if found is None else "makes no tokens"
                self.die(f"The engine {what} since {stalled:.0f} s.")
                return

    async def _progress(self, patience: float) -> tuple[float, ...] | None:
        """What moves while the engine works; None when it does not answer."""
        if self.in_flight and self.process is not None:
            figures = await self.connection.metrics(patience)
            return None if figures is None else (*progress(figures), self.answered)
        health = await self.connection.health(patience)
        # Nothing need move: that it answers is all that is asked of it.
        return (time.monotonic(),) if health is Health.GOOD else None
