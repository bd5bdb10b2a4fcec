"""Up to which id the log is settled: no line with a lower id can still become visible.

Ids are given out when lines are written, lines become visible when their transaction commits: one
with a lower id may come after one with a higher id. A reader that follows ids up to the horizon
misses none, and may go on from its last id alone.
"""

from __future__ import annotations

import logging
import time
from collections import deque

from sqlalchemy import Connection

from app.core.sql import statement

_log = logging.getLogger(__name__)

# A transaction open for longer is not waited for: it may be one that somebody forgot. Its lines are
# in the log when it commits; streams that are past them don't show them.
PATIENCE_SECONDS = 30.0
_MOST_ROUNDS = 1000


class LogHorizon:
    """Looks again and again who writes log lines, and concludes what is settled.

    When the newest id was `last`, and whoever wrote just then has ended since, then every line up
    to `last` is visible or never will be.
    """

    def __init__(self) -> None:
        self._rounds: deque[tuple[int, frozenset[str]]] = deque(maxlen=_MOST_ROUNDS)
        self._seen_at: dict[str, float] = {}
        self._overdue: set[str] = set()
        self.settled: int | None = None  # None: not known yet
        self.is_behind = False  # whether ids beyond `settled` were given out

    def look(self, connection: Connection) -> int | None:
        """The newest settled id; rows must be read after this. `connection` is in autocommit."""
        last: int = connection.execute(statement("streams", "last_line_id")).scalar_one()
        writers = self._writers(connection)
        self._rounds.append((last, writers))
        while self._rounds and not self._rounds[0][1] & writers:
            self.settled = self._rounds.popleft()[0]
        self.is_behind = self.settled is None or self.settled < last
        return self.settled

    def _writers(self, connection: Connection) -> frozenset[str]:
        now = time.monotonic()
        seen = {name: now for (name,) in connection.execute(statement("streams", "line_writers"))}
        self._seen_at = {name: self._seen_at.get(name, now) for name in seen}
        overdue = {name for name, at in self._seen_at.items() if now - at > PATIENCE_SECONDS}
        for name in overdue - self._overdue:
            _log.warning("log streams no longer wait for the open transaction %s", name)
        self._overdue = overdue
        return frozenset(seen.keys() - overdue)
