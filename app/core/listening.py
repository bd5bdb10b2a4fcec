"""Being heard of: the record's triggers, and `tell`, notify only while some process says that it listens.

A notification takes a lock of the whole server until its transaction has committed, which costs a
quick job a fifth of its time. So the reader of each web process keeps a row with a time in the
table `listener`, and the triggers look whether one is in the future.
"""

from __future__ import annotations

import logging
import time
import uuid

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from app.core.sql import statement

_log = logging.getLogger(__name__)

_LEASE_SECONDS = 60.0
_RENEW_SECONDS = 20.0
_LOOK_SECONDS = 0.5
# A transaction open for longer is not waited for: what it changed is seen when a page asks again.
PATIENCE_SECONDS = 30.0


def tell(session: Session, noun: str) -> None:
    """Tell pages, if any is open, that something of a kind changed; they hear of it at the commit.

    However often it is said in one transaction, they hear it once.
    """
    with session.no_autoflush:
        session.execute(statement("listening", "tell"), {"payload": f'{{"noun":"{noun}","id":""}}'})


class Listening:
    """One process's row among the listeners, over a connection in autocommit."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._id = uuid.uuid4()
        self._renewed_at: float | None = None
        # Whoever changed something before the row was there may not have seen it, and is heard of
        # by nobody when it commits: until then, this is the first transaction that surely saw it.
        self._horizon: str | None = None
        self._begun_at = 0.0
        self._looked_at = 0.0

    def seconds_until_due(self) -> float:
        """How long until `keep` has something to do."""
        now = time.monotonic()
        if self._renewed_at is None:
            return 0.0
        due = self._renewed_at + _RENEW_SECONDS - now
        if self._horizon is not None:
            due = min(due, self._looked_at + _LOOK_SECONDS - now)
        return max(0.0, due)

    def keep(self) -> bool:
        """Do what is due. True: there may have been changes of which no notification came."""
        now = time.monotonic()
        if self._renewed_at is None or now - self._renewed_at >= _RENEW_SECONDS:
            has_lapsed = self._renewed_at is None or now - self._renewed_at >= _LEASE_SECONDS
            self._renew()
            self._renewed_at = now
            if has_lapsed:
                self._begin(now)
                return True
        if self._horizon is None or now - self._looked_at < _LOOK_SECONDS:
            return False
        return self._look(now)

    def _renew(self) -> None:
        self._connection.execute(
            statement("listening", "renew"), {"id": self._id, "seconds": _LEASE_SECONDS}
        )

    def _begin(self, now: float) -> None:
        self._horizon = self._connection.execute(statement("listening", "horizon")).scalar_one()
        self._begun_at = self._looked_at = now

    def _look(self, now: float) -> bool:
        self._looked_at = now
        has_passed = self._connection.execute(
            statement("listening", "has_passed"), {"horizon": self._horizon}
        ).scalar_one()
        if not has_passed and now - self._begun_at < PATIENCE_SECONDS:
            return False
        if not has_passed:
            _log.warning("the change feed no longer waits for a transaction that is still open")
        self._horizon = None
        return True
