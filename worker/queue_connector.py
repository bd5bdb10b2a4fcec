"""Procrastinate's connection to the database, which an outage of the database does not end."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, LiteralString, TypeVar

import procrastinate
import psycopg
from procrastinate import exceptions
from procrastinate.connector import Notify
from psycopg_pool import AsyncConnectionPool

from app.core.db import connect_args
from app.core.settings import Settings
from app.core.silence import QueueConnection
from worker.outages import Patience

T = TypeVar("T")

_RECONNECT_SECONDS = 1.0


class PatientConnector(procrastinate.PsycopgConnector):
    """Says again what an outage broke off; Procrastinate's worker would end itself instead.

    A statement may then be executed twice. A job that was fetched for nobody, the housekeeper puts
    back; a finish that had been recorded is refused the second time.
    """

    def __init__(self, patience: Patience, **options: Any) -> None:
        super().__init__(**options)
        self._patience = patience

    async def execute_query_async(self, query: LiteralString, **arguments: Any) -> None:
        await self._outlast(partial(super().execute_query_async, query, **arguments))

    async def execute_query_one_async(
        self, query: LiteralString, **arguments: Any
    ) -> dict[str, Any]:
        return await self._outlast(partial(super().execute_query_one_async, query, **arguments))

    async def execute_query_all_async(
        self, query: LiteralString, **arguments: Any
    ) -> list[dict[str, Any]]:
        return await self._outlast(partial(super().execute_query_all_async, query, **arguments))

    async def listen_notify(self, on_notification: Notify, channels: Iterable[str]) -> None:
        await self._outlast(partial(super().listen_notify, on_notification, list(channels)))

    async def _outlast(self, ask: Callable[[], Awaitable[T]]) -> T:
        pause = 0.1
        while True:
            try:
                return await ask()
            except exceptions.ConnectorException as fault:
                pause = await self._patience.rest(fault, pause, "queue")
                # Else the next try may get another connection that has died in the meantime.
                with contextlib.suppress(psycopg.Error):
                    await self.pool.check()


class UncheckedPool(AsyncConnectionPool[Any]):
    """A pool without a check at every checkout: half the round trips of a fetched job.

    Its connections give up on a server that says nothing.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        options = {**kwargs, "check": None, "connection_class": QueueConnection}
        super().__init__(*args, **options)


async def _set_autocommit(connection: psycopg.AsyncConnection[Any]) -> None:
    await connection.set_autocommit(True)


def make_connector(settings: Settings, patience: Patience) -> PatientConnector:
    """The connector of the worker.

    Autocommit is set by `configure`, since its listener refuses it as a connection argument.
    """
    return PatientConnector(
        patience,
        conninfo=settings.database_url,
        kwargs=connect_args("queue"),
        pool_factory=UncheckedPool,
        configure=_set_autocommit,
        min_size=1,
        max_size=4,
        timeout=2,
        # The pool doubles its pauses; given up soon, the next statement makes it try anew.
        reconnect_timeout=_RECONNECT_SECONDS,
    )
