"""Requests on their way to the engine: millions wait as numbers, few exist as objects."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

DEATHS_BEFORE_ALONE = 2


@dataclass(slots=True)
class Ask:
    """A request on its way: where its line lies, and what has befallen it so far."""

    line: int
    position: int
    length: int
    deaths: int = 0
    tries: int = 0


class Asks:
    """What of a batch is still to be asked, in dispatch order; 16 bytes for each of millions.

    Requests that were in the engine at several of its deaths are kept apart, to be asked alone.
    """

    def __init__(self) -> None:
        self._lines = array("i")
        self._positions = array("q")
        self._lengths = array("i")
        self._next = 0
        self._put_back: deque[Ask] = deque()
        self._alone: deque[Ask] = deque()

    def __len__(self) -> int:
        return len(self._lines) - self._next + len(self._put_back) + len(self._alone)

    def add(self, rows: Iterable[tuple[int, int, int, int]]) -> None:
        """Append requests as (line, position, length, deaths)."""
        for line, position, length, deaths in rows:
            if deaths:
                self.put_back(Ask(line, position, length, deaths))
            else:
                self._lines.append(line)
                self._positions.append(position)
                self._lengths.append(length)

    def put_back(self, ask: Ask) -> None:
        """A request that was lost with its engine: it comes first, or alone after two deaths."""
        if ask.deaths >= DEATHS_BEFORE_ALONE:
            self._alone.append(ask)
        else:
            self._put_back.append(ask)

    @property
    def has_next(self) -> bool:
        """Whether something may be asked beside others."""
        return bool(self._put_back) or self._next < len(self._lines)

    @property
    def has_alone(self) -> bool:
        """Whether something must be asked alone."""
        return bool(self._alone)

    def take(self) -> Ask:
        """The next request. Raises IndexError when there is none."""
        if self._put_back:
            return self._put_back.popleft()
        at = self._next
        ask = Ask(self._lines[at], self._positions[at], self._lengths[at])
        self._next += 1
        return ask

    def take_alone(self) -> Ask:
        """The next request that must be asked alone. Raises IndexError when there is none."""
        return self._alone.popleft()
