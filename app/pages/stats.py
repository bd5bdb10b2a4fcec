"""The statistics: how each type did in a window and how that changed, and charts of all that ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Blueprint, g, render_template, request, url_for
from werkzeug.datastructures import MultiDict

from app.core import job_stats, window_stats
from app.core.errors import Invalid
from app.core.stats import StatsCache
from app.core.window_counts import Step
from app.core.window_stats import Bar, Course, Line
from app.extensions import db
from app.pages import charts
from app.pages.display import number
from app.pages.fragments import here, wants_fragment
from app.pages.window_charts import STEP_WORDS, at, heading_of, zone_of

blueprint = Blueprint("stats_pages", __name__, url_prefix="/stats")

# A window's word, its length and that of its steps in seconds, and the window in a sentence.
RANGES: dict[str, tuple[str, timedelta, int, str]] = {
    "24h": ("24 h", timedelta(hours=24), 3600, "last 24 hours"),
    "7d": ("7 d", timedelta(days=7), 6 * 3600, "last 7 days"),
    "30d": ("30 d", timedelta(days=30), 86_400, "last 30 days"),
    "90d": ("90 d", timedelta(days=90), 86_400, "last 90 days"),
}
BY = {"type": "task", "queue": "queue", "model": "model", "status": "status"}
_LONGEST_NAME = 200
_MOST_COURSES = 12


@dataclass(frozen=True)
class View:
    """What the reader chose: a window, by what the charts are split, and of which type durations are."""

    range: str = "24h"
    by: str = "type"
    type: str = ""

    ranges = tuple((key, words[0]) for key, words in RANGES.items())
    splits = tuple(BY)

    @classmethod
    def read(cls, args: MultiDict[str, str]) -> View:
        """From the address. Raises Invalid, naming what can't be read."""
        range_, by = args.get("range") or cls.range, args.get("by") or cls.by
        if range_ not in RANGES:
            raise Invalid(f"range must be one of {', '.join(RANGES)}.", param="range")
        if by not in BY:
            raise Invalid(f"by must be one of {', '.join(BY)}.", param="by")
        return cls(range_, by, (args.get("type") or "").replace("\0", "")[:_LONGEST_NAME])

    @property
    def scope(self) -> str:
        return RANGES[self.range][3]

    @property
    def step_seconds(self) -> int:
        return RANGES[self.range][2]

    def url(self, **changed: str) -> str:
        """The address of the page with some of it changed."""
        asked = {"range": self.range, "by": self.by, "type": self.type, **changed}
        usual = {"range": View.range, "by": View.by, "type": View.type}
        given = {name: value for name, value in asked.items() if value != usual[name]}
        return url_for("stats_pages.index", **given)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Figures:
    """What is counted once for all who look at one window."""

    since: datetime
    until: datetime
    lines: list[Line]
    begins: list[datetime]
    courses: list[Course]


_figures = StatsCache[Figures](patience=20.0)


@blueprint.get("")
def index() -> str:
    """The page, or only what changes on it."""
    view = View.read(request.args)
    owner_name = g.actor.owner_name
    key = (db.session().get_bind(), owner_name, view.range, view.by)
    figures = _figures.get(key, lambda: _find(view, owner_name))
    bars = window_stats.durations(_histogram(figures.lines, view.type))
    shown = _shown(figures.courses)
    most = max((sum(step.values()) for course in shown for step in course.steps), default=0)
    return render_template(
        "stats/_stats.html" if wants_fragment() else "stats/index.html",
        here=here(),
        view=view,
        figures=figures,
        types=[line.name for line in figures.lines],
        slow_seconds=job_stats.SLOW_SECONDS,
        bars=bars,
        pieces=charts.bars([[("completed", bar.runs)] for bar in bars]),
        sentence=_sentence(bars),
        courses=shown,
        drawn={course.name: _draw(course, most) for course in shown},
        most=most,
        step=STEP_WORDS[view.step_seconds],
        labels=[at(begins, view.step_seconds) for begins in figures.begins],
        heading=heading_of(figures.begins, view.step_seconds),
        zone=zone_of(datetime.now(UTC), view.step_seconds),
    )


def _find(view: View, owner_name: str | None) -> Figures:
    session = db.session()
    until = datetime.now(UTC)
    since = until - RANGES[view.range][1]
    lines = window_stats.by_type(session, since=since, until=until, owner_name=owner_name)
    begins, courses = window_stats.courses(
        session,
        BY[view.by],
        since=since,
        until=until,
        step_seconds=view.step_seconds,
        owner_name=owner_name,
    )
    return Figures(since, until, lines, begins, courses)


def _histogram(lines: Sequence[Line], kind: str) -> Any:
    whole = Step(datetime.now(UTC))
    for line in lines:
        if kind in ("", line.name):
            whole.run_histogram += line.now.run_histogram
    return whole.run_histogram


def _shown(courses: list[Course]) -> list[Course]:
    """The most frequent ones, and the others as one."""
    if len(courses) <= _MOST_COURSES:
        return courses
    rest = courses[_MOST_COURSES - 1 :]
    summed = [
        {kind: sum(step[kind] for step in steps) for kind in window_stats.ENDED}
        for steps in zip(*(course.steps for course in rest), strict=True)
    ]
    return [*courses[: _MOST_COURSES - 1], Course(f"{len(rest)} others", summed)]


def _draw(course: Course, most: int) -> list[charts.Piece]:
    return charts.bars(
        [[(kind, step[kind]) for kind in window_stats.ENDED] for step in course.steps], most
    )


def _sentence(bars: Sequence[Bar]) -> str:
    if not bars:
        return "No run completed."
    most = max(bars, key=lambda bar: bar.runs)
    runs = sum(bar.runs for bar in bars)
    return f"{number(runs)} completed {'run' if runs == 1 else 'runs'}; most, {number(most.runs)}, took {span(most)}."


@blueprint.app_template_filter("duration_span")
def span(bar: Bar) -> str:
    """Like: 2 to 4.1 s."""
    return f"{_short(bar.least)} to {_short(bar.most)}"


def _short(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if seconds >= size:
            return f"{seconds / size:.{0 if seconds / size >= 10 else 1}f} {unit}"
    return f"{seconds * 1000:.0f} ms"
