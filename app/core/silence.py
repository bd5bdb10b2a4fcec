"""Connections that notice a database that is there and says nothing.

A server whose processes are frozen keeps its connections open: the kernel still takes our bytes and
answers keepalives, and nothing would ever end the wait, neither the server's statement time-out nor
TCP's. So the client looks at its own clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import Any, ClassVar, TypeVar

import psycopg

T = TypeVar("T")

# A statement may take long. After this many seconds without a byte the server is asked beside it,
# over a new connection, whether it still answers.
ASK_SECONDS = 15.0
_ANSWER_SECONDS = 5
# The queue's statements are all short.
_QUEUE_SECONDS = 20.0
# A pooled connection is tried before it is used, by a statement that asks for nothing.
_TRY_SECONDS = 0.75
_SILENT = "the database takes connections and does not answer"


class WatchedConnection(psycopg.Connection[Any]):
    """For workers: a statement may take as long as it takes while the server answers others."""

    def wait(self, gen: Generator[Any, Any, T], *rest: Any, **named: Any) -> T:
        asked_at = 0.0

        def look(silent_seconds: float) -> None:
            nonlocal asked_at
            if silent_seconds - asked_at > ASK_SECONDS:
                asked_at = silent_seconds
                if not self._is_answered():
                    self.close()
                    raise psycopg.OperationalError(_SILENT)

        return super().wait(_watch(gen, look), *rest, **named)

    def _is_answered(self) -> bool:
        info = self.info
        try:
            psycopg.connect(
                info.dsn, password=info.password or None, connect_timeout=_ANSWER_SECONDS
            ).close()
        except psycopg.errors.ConnectionTimeout:
            return False
        except psycopg.OperationalError:
            return True  # it refuses: what it makes of our statement, it will say itself
        return True


class ImpatientConnection(psycopg.Connection[Any]):
    """For the web: the server ends each statement after a time, so its silence beyond it is news."""

    patience_seconds: ClassVar[float] = 60.0

    def wait(self, gen: Generator[Any, Any, T], *rest: Any, **named: Any) -> T:
        # Only SQLAlchemy's try of a pooled connection happens in autocommit.
        limit = _TRY_SECONDS if self.autocommit else self.patience_seconds

        def look(silent_seconds: float) -> None:
            if silent_seconds > limit:
                self.close()
                raise psycopg.OperationalError(_SILENT)

        return super().wait(_watch(gen, look), *rest, **named)


class QueueConnection(psycopg.AsyncConnection[Any]):
    """For Procrastinate in the worker."""

    async def wait(self, gen: Generator[Any, Any, T], *rest: Any, **named: Any) -> T:
        def look(silent_seconds: float) -> None:
            if silent_seconds > _QUEUE_SECONDS:
                self.pgconn.finish()
                raise psycopg.OperationalError(_SILENT)

        return await super().wait(_watch(gen, look), *rest, **named)


def impatient(seconds: float) -> type[ImpatientConnection]:
    """The web's connection, which waits for so long."""
    return type("ImpatientConnection", (ImpatientConnection,), {"patience_seconds": seconds})


def _watch(gen: Generator[Any, Any, T], look: Callable[[float], None]) -> Generator[Any, Any, T]:
    """What psycopg waits for, with a look at the clock each time that nothing has come."""
    heard_at = time.monotonic()
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if ready:
                heard_at = time.monotonic()
            else:
                look(time.monotonic() - heard_at)
            wanted = gen.send(ready)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
