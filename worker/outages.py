"""The database is away: what the worker may still do is wait, and then say it again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import psycopg
import structlog
from procrastinate import exceptions as queue_faults
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

log = structlog.get_logger(__name__)
T = TypeVar("T")

# Connection lost; shut down or starting; no connection left; disk full; a deadlock; a lock held.
_PASSING = ("08", "57P01", "57P02", "57P03", "53300", "53100", "40P01", "55P03")

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 2.0


def is_outage(fault: BaseException) -> bool:
    """Whether the database is away, so that the same statement may work later."""
    if isinstance(fault, queue_faults.ConnectorException):
        return fault.__cause__ is not None and is_outage(fault.__cause__)
    if isinstance(fault, PoolTimeout):
        return True
    if isinstance(fault, OperationalError) and isinstance(fault.orig, psycopg.Error):
        return is_outage(fault.orig)
    if isinstance(fault, psycopg.OperationalError):
        return fault.sqlstate is None or fault.sqlstate.startswith(_PASSING)
    return isinstance(fault, DBAPIError) and fault.connection_invalidated


class Patience:
    """Repeats what an outage broke off, until it works or the process has to end.

    The answer to a COMMIT may be lost with the connection: what is repeated must bear having
    been done already.
    """

    def __init__(self) -> None:
        self._ended = asyncio.Event()

    def end(self) -> None:
        """From now on an outage is an error like any other: the process is stopping."""
        self._ended.set()

    async def outlast(self, work: Callable[[], T], what: str) -> T:
        """The answer of `work`, run in a thread. Raises what it raises besides outages."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                return await asyncio.to_thread(work)
            except Exception as fault:
                pause = await self.rest(fault, pause, what)

    async def rest(self, fault: Exception, pause: float, what: str) -> float:
        """Wait after a fault; returns the next pause. Raises the fault if waiting won't help."""
        if not is_outage(fault) or self._ended.is_set():
            raise fault
        if pause > _FIRST_PAUSE_SECONDS:  # a broken connection alone is no news
            log.warning("database.away", what=what, error=_say(fault))
        try:
            await asyncio.wait_for(self._ended.wait(), pause)
        except TimeoutError:
            pass
        return min(pause * 2, _LONGEST_PAUSE_SECONDS)


def _say(fault: BaseException) -> str:
    cause = fault.__cause__ if isinstance(fault, queue_faults.ConnectorException) else None
    return str(cause or fault).partition("\n")[0][:200]
