"""The map below the timeline: a longer time, and where in it the window lies."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from app.core import timeline_runs
from app.core.stats import StatsCache
from app.pages.timeline_drawing import Drawing
from app.pages.timeline_view import View

# How much more than the window it shows.
_TIMES = 7
_MOST = timedelta(days=31)


@dataclass(frozen=True)
class Ground:
    """How many ran at once, and of how many runs that is drawn."""

    drawing: Drawing
    since: datetime
    until: datetime
    runs: int


@dataclass(frozen=True)
class Map:
    """The window is `width` wide from `x` on."""

    ground: Ground
    x: float
    width: float

    @property
    def drawing(self) -> Drawing:
        return self.ground.drawing

    @property
    def since(self) -> datetime:
        return self.ground.since

    @property
    def until(self) -> datetime:
        return self.ground.until


# As of the picture: what holds thousands of runs is not seen to change within seconds.
_grounds = StatsCache[Ground](size=64, lasts=lambda ground: (ground.runs - 2000) / 1000)


def draw(session: Session, view: View, owner_name: str | None) -> Map:
    """The map of a view."""
    window = view.window
    ground = _grounds.get(
        (session.get_bind(), owner_name, window.key), lambda: _read(session, view, owner_name)
    )
    x = ground.drawing.x(window.since)
    return Map(ground, x, max(2.0, ground.drawing.x(window.until) - x))


def _read(session: Session, view: View, owner_name: str | None) -> Ground:
    window = view.window
    length = window.until - window.since
    span = max(length, min(length * _TIMES, _MOST))
    until = min(window.until + (span - length) / 2, max(view.now, window.until))
    since = until - span
    around = timeline_runs.read(
        session,
        since=since,
        until=until,
        now=view.now,
        task=window.type,
        owner_name=owner_name,
    )
    drawing = Drawing(
        [],
        around.concurrency(min(around.since(since), until), until),
        [],
        since,
        until,
        view.now,
        known_from=around.known_from,
    )
    return Ground(drawing, since, until, around.size)
