"""What ran beside what, in brief: the timeline of the Overview's window, of its last day at most."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flask import g, render_template, request
from markupsafe import Markup
from sqlalchemy.orm import Session

from app.core import timeline, timeline_runs
from app.core.overlaps import Overlaps, TypePair
from app.core.stats import StatsCache
from app.core.timeline_runs import Runs
from app.pages.fragments import told_at
from app.pages.preferences import preferences
from app.pages.timeline_drawing import Drawing
from app.pages.timeline_view import View
from app.pages.window import DATES, Window

_LONGEST = timedelta(days=1)
# Of so many runs a picture is made at every look. One of more is kept, the longer the more they are: in a
# day of 100,000 that is less time than anything in it needs to move by a hair.
_FEW_RUNS = 1000
_RUNS_A_SECOND = 1000
_LONGEST_KEPT_SECONDS = 120.0


@dataclass(frozen=True)
class Brief:
    """The sheet, and of how many runs it is."""

    html: Markup
    runs: int

    @property
    def lasts(self) -> float:
        """For how many seconds it may be kept."""
        return 0.0 if self.runs <= _FEW_RUNS else self.runs / _RUNS_A_SECOND


_briefs = StatsCache[Brief](seconds=_LONGEST_KEPT_SECONDS, size=32, lasts=lambda brief: brief.lasts)


def sheet(session: Session, window: Window) -> Markup:
    """The sheet of that window, as the one who asks sees it."""
    key = (
        session.get_bind(),
        g.actor.owner_name,
        window.key,
        window.refresh,
        preferences(),
        request.script_root,
    )
    return _briefs.get(key, lambda: _draw(session, window), told_at()).html


def _draw(session: Session, window: Window) -> Brief:
    now = datetime.now(UTC)
    view = View(_last_day(window), now)
    since, until = view.window.since, view.window.until
    runs = timeline_runs.read(
        session,
        since=since,
        until=until,
        now=now,
        task=window.type,
        owner_name=g.actor.owner_name,
    )
    swept = runs.swept(min(runs.since(since), until), until)
    html = render_template(
        "timeline/_brief.html",
        view=view,
        runs=runs,
        drawing=_drawing(session, view, runs, swept),
        peak=swept.peak,
        closest=_closest(swept.by_pair),
        whole_url=view.url(),
    )
    return Brief(Markup(html), runs.size)  # noqa: S704  our own template has escaped it


def _drawing(session: Session, view: View, runs: Runs, swept: Overlaps) -> Drawing:
    since, until = view.window.since, view.window.until
    lanes = timeline.lanes(session, runs, since, until, timeline.BRIEF)
    return Drawing(
        lanes,
        swept.concurrency,
        [],
        since,
        until,
        view.now,
        known_from=runs.known_from,
        are_types=True,
    )


def _closest(pairs: list[TypePair]) -> TypePair | None:
    """The two types that had most time in common."""
    others = [pair for pair in pairs if pair.type1 != pair.type2]
    return max(others, key=lambda pair: pair.overlap_seconds, default=None)


def _last_day(window: Window) -> Window:
    """The window, or the last day of one that is longer: more could not be told apart in brief."""
    if window.until - window.since <= _LONGEST:
        return window
    if window.range == DATES:
        since = window.until - _LONGEST
        return Window(DATES, since, window.until, window.type, window.refresh)
    return Window("24h", window.until - _LONGEST, window.until, window.type, window.refresh)
