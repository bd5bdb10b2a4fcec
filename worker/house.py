"""What the worker's tasks share: settings, the database, the engine's turns, helper processes."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar
from uuid import UUID

from app.core.db import SessionFactory
from app.core.engines import RegistryFile
from app.core.settings import Settings
from worker import steps
from worker.meter import Meter
from worker.outages import Patience
from worker.turns import Turns

P = ParamSpec("P")
R = TypeVar("R")

_PR_SET_PDEATHSIG = 1


class Helpers:
    """Processes for what would hold the worker's interpreter: validation, writing files.

    Each is a pool of its own, so that one can be killed without the others' noticing.
    """

    def __init__(self, count: int = 2) -> None:
        self._pools = [self._open() for _ in range(count)]
        self._idle: asyncio.LifoQueue[int] = asyncio.LifoQueue()
        for number in range(count):
            self._idle.put_nowait(number)

    def _open(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            1,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_end_with_parent,
            initargs=(os.getpid(),),
        )

    def warm(self) -> None:
        """Start them now: the first batch should not wait for their imports."""
        for pool in self._pools:
            pool.submit(steps.warm)

    async def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a module's function there. Raises what it raised, or BrokenProcessPool.

        Who is cancelled while it runs has its process killed: nothing else would stop it.
        """
        number = await self._idle.get()
        try:
            try:
                future = self._pools[number].submit(function, *args, **kwargs)
            except BrokenProcessPool:  # killed while it had nothing to do
                future = self._renew(number).submit(function, *args, **kwargs)
            return await asyncio.wrap_future(future)
        except (BrokenProcessPool, asyncio.CancelledError):
            self._renew(number)
            raise
        finally:
            self._idle.put_nowait(number)

    def _renew(self, number: int) -> ProcessPoolExecutor:
        """Another pool in the place of one that is broken, or is to end (out of memory, say)."""
        _end(self._pools[number], signal.SIGKILL)
        self._pools[number] = self._open()
        return self._pools[number]

    def close(self) -> None:
        """End them."""
        for pool in self._pools:
            _end(pool, signal.SIGTERM)


def _end(pool: ProcessPoolExecutor, how: signal.Signals) -> None:
    for process in list((pool._processes or {}).values()):
        if process.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, how)
    pool.shutdown(wait=False, cancel_futures=True)


def _end_with_parent(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    logging.getLogger().handlers.clear()


@dataclass
class House:
    """Handed to every task."""

    settings: Settings
    sessions: SessionFactory
    registry: RegistryFile
    turns: Turns
    helpers: Helpers
    worker_id: UUID
    patience: Patience
    # The jobs that run here, by their attempts' tokens: a job that was taken for lost can be
    # fetched again while its first attempt has not noticed yet.
    running: dict[UUID, int] = field(default_factory=dict)
    # Set when the process is to end: for work in threads.
    stopping: threading.Event = field(default_factory=threading.Event)
    # Set when a thread does not stop for an abort: the process is to end with it.
    stuck: asyncio.Event = field(default_factory=asyncio.Event)
    tokens: Meter = field(default_factory=Meter)
