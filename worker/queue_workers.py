"""Procrastinate's workers as we run them: one for quick steps, one for the model's turn."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import procrastinate
import psycopg
from procrastinate.worker import Worker
from psycopg_pool import AsyncConnectionPool

from app.core import batches
from app.core.db import connect_args
from app.core.settings import Settings
from worker.house import House
from worker.recording import record_attempt
from worker.turns import Turns

# Beyond the drain a job may still write what it has; then Procrastinate ends it.
_GRACE_SECONDS = 5.0
_STEPS_AT_ONCE = 4


class UncheckedPool(AsyncConnectionPool[Any]):
    """A pool without a check at every checkout: half the round trips of a fetched job."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "check": None})


async def _set_autocommit(connection: psycopg.AsyncConnection[Any]) -> None:
    await connection.set_autocommit(True)


def make_connector(settings: Settings) -> procrastinate.PsycopgConnector:
    """Procrastinate's connection to the database.

    Autocommit is set by `configure`, since its listener refuses it as a connection argument.
    """
    return procrastinate.PsycopgConnector(
        conninfo=settings.database_url,
        kwargs=connect_args("queue"),
        pool_factory=UncheckedPool,
        configure=_set_autocommit,
        min_size=1,
        max_size=4,
        timeout=30,
    )


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
        "worker_middleware": [record_attempt],
    }


def make_step_worker(app: procrastinate.App, house: House) -> Worker:
    """For what needs no engine: validation, and the ends of batches that wait."""
    return Worker(
        app, queues=[batches.QUEUE], name="steps", concurrency=_STEPS_AT_ONCE, **_options(house)
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


class _TurnWorker(Worker):
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
