"""What an attempt did and when: each change of its message, and how far it was by then."""

from __future__ import annotations

import re
import time
from typing import Any

# So many are kept of an attempt: when there are more, those in between give way.
MOST = 100
CHARACTERS = 200
# What took less time than this gives way to what followed.
LEAST_SECONDS = 0.05
# So long until they are written again, for each that there is: a short list is there at once, and a
# long one costs little.
SECONDS_EACH = 0.1

_DIGITS = re.compile(r"\d+")

Milestone = dict[str, Any]


class Milestones:
    """One attempt's. Threads may add: a milestone may be lost by that, and nothing else.

    Each is {at (seconds since the epoch), message, percent, done}, the last three None where not known.
    """

    def __init__(self) -> None:
        self._kept: list[Milestone] = []
        self._message: str | None = None
        self._percent: int | None = None
        self._written_at = 0.0
        self.is_new = False  # whether some are not written yet

    def note(self, message: str | None, percent: int | None, done: int) -> None:
        """The attempt is there now. It is called for each item, which mostly is no milestone."""
        if message is None:
            message = self._message
        if percent is None:
            percent = self._percent
        if message == self._message and percent == self._percent:
            return
        self._message, self._percent = message, percent
        now = time.time()
        milestone = {"at": round(now, 3), "message": message, "percent": percent, "done": done}
        kept = self._kept
        if len(kept) > 1 and now - kept[-1]["at"] < LEAST_SECONDS:
            kept[-1] = milestone
        else:
            kept.append(milestone)
            if len(kept) > MOST:
                self._kept = _thinned(kept)
        self.is_new = True

    @property
    def is_due(self) -> bool:
        """Whether they are to be written now."""
        if not self.is_new:
            return False
        pause = max(1.0, SECONDS_EACH * len(self._kept))
        return time.monotonic() - self._written_at >= pause

    def take(self) -> list[Milestone]:
        """All of them, to be written in the place of what was written before."""
        self.is_new = False
        self._written_at = time.monotonic()
        return list(self._kept)


def _thinned(kept: list[Milestone]) -> list[Milestone]:
    """Without the one whose neighbours are the nearest in time: one that only counts on, if there is any."""
    shapes = [_DIGITS.sub("0", milestone["message"] or "") for milestone in kept]
    inner = range(1, len(kept) - 1)
    counting = [place for place in inner if shapes[place] == shapes[place - 1]]
    least = min(counting or inner, key=lambda place: kept[place + 1]["at"] - kept[place - 1]["at"])
    return kept[:least] + kept[least + 1 :]
