"""What the worker's tasks share: settings, the database, the engine's turns, helper processes."""

from __future__ import annotations

import asyncio
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
    """Processes for what would hold the worker's interpreter: validation, writing files."""

    def __init__(self, count: int = 2) -> None:
        self._count = count
        self._pool = self._open()

    def _open(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self._count,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_end_with_parent,
            initargs=(os.getpid(),),
        )

    def warm(self) -> None:
        """Start them now: the first batch should not wait for their imports."""
        for _ in range(self._count):
            self._pool.submit(steps.warm)

    async def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a module's function there. Raises what it raised, or BrokenProcessPool."""
        pool = self._pool
        try:
            return await asyncio.wrap_future(pool.submit(function, *args, **kwargs))
        except BrokenProcessPool:
            # Killed from outside (out of memory, say): the next call gets new ones. All calls that
            # ran at once learn of it; the first has them made.
            if pool is self._pool:
                pool.shutdown(wait=False)
                self._pool = self._open()
            raise

    def close(self) -> None:
        """End them."""
        for process in list((self._pool._processes or {}).values()):
            process.terminate()
        self._pool.shutdown(wait=False, cancel_futures=True)


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
    tokens: Meter = field(default_factory=Meter)
