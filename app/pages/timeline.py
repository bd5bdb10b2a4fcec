"""The timeline: what ran beside what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flask import Blueprint, Response, g, redirect, render_template, request
from markupsafe import Markup
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as BaseResponse

from app.core import (
    collisions,
    contention,
    job_record,
    job_types,
    schedules,
    timeline,
    timeline_ahead,
    timeline_planned,
    timeline_runs,
    timeline_waiting,
)
from app.core.collisions import Beside, Span
from app.core.overlaps import Overlaps, moment
from app.core.samples import Machine
from app.core.stats import StatsCache
from app.core.timeline_runs import Runs
from app.extensions import current_settings, db
from app.pages import downloads, machines, timeline_map
from app.pages.display import duration, number
from app.pages.fragments import here, told_at, wants_fragment
from app.pages.preferences import preferences
from app.pages.timeline_drawing import Drawing
from app.pages.timeline_machines import figure_words
from app.pages.timeline_matrix import Matrix
from app.pages.timeline_view import View

blueprint = Blueprint("timeline", __name__, url_prefix="/timeline")

_LATEST = 20
_TIMES = ("status", "started_at", "ended_at", "seconds")
_ROWS_AT_ONCE = 1000
_MOST_ADVICE = 3
# A picture of more runs than this is kept a while, the longer the more they are: in a window that holds
# so many, little of it would be seen to move. What it costs to make is mostly these.
_FEW_RUNS = 2000
_RUNS_A_SECOND = 1000
_LEAST_MARGIN = timedelta(seconds=10)


@dataclass(frozen=True)
class Shown:
    """All that a page, its picture or its table is made of.

    Figures are of the time from `since` on, in which no run is missing.
    """

    runs: Runs
    swept: Overlaps
    spans: list[Span]
    beside: list[Beside]
    drawing: Drawing
    machines: list[Machine]
    since: datetime

    @property
    def has_gpu(self) -> bool:
        """Whether any worker tells of one."""
        return any(machine.has_gpu for machine in self.machines)

    @property
    def together_words(self) -> str:
        """How long all stretches are together: exact, and where there are several, how many."""
        seconds = sum(span.seconds for span in self.spans)
        words = duration(seconds)
        if seconds >= 60:
            words += f" ({number(seconds)} s)"
        return words if len(self.spans) < 2 else f"{words}, in {number(len(self.spans))} stretches"


@dataclass(frozen=True)
class Part:
    """What changes on the page, and of how many runs it is."""

    html: Markup
    runs: int

    @property
    def lasts(self) -> float:
        """For how many seconds it may be kept."""
        return 0.0 if self.runs <= _FEW_RUNS else self.runs / _RUNS_A_SECOND


_parts = StatsCache[Part](size=32, lasts=lambda part: part.lasts)


@blueprint.get("")
def index() -> str | BaseResponse:
    """The page, or only what changes on it."""
    session, view = db.session(), View.read(request.args)
    if view.job_id is not None and "range" not in request.args:
        return redirect(_around(session, view, view.job_id))
    # All that it is made of: the address says what, the others for whom.
    key = (session.get_bind(), g.actor.owner_name, g.actor.owner_filter, here(), preferences())
    part = _parts.get(key, lambda: _render(session, view), told_at())
    if wants_fragment():
        return part.html
    return render_template(
        "timeline/index.html", view=view, types=_types(session, view), part=part.html
    )


def _render(session: Session, view: View) -> Part:
    shown = _read(session, view)
    html = render_template(
        "timeline/_timeline.html",
        view=view,
        shown=shown,
        drawing=shown.drawing,
        matrix=Matrix.of(shown.swept.by_pair),
        map=timeline_map.draw(session, view, g.actor.owner_name),
        latest=_latest(shown.runs),
        advice=contention.advise(
            session, shown.runs, shown.since, view.window.until, g.actor.owner_filter
        )[:_MOST_ADVICE],
        figure_words=figure_words,
        periodic=_count_periodic(session, view),
        here=here(),
    )
    return Part(Markup(html), shown.runs.size)  # noqa: S704  our own template has escaped it


@blueprint.get("/picture.svg")
def picture() -> Response:
    """The picture by itself, with its colours in it."""
    view = View.read(request.args)
    shown = _read(db.session(), view)
    answer = render_template("timeline/picture.svg", view=view, shown=shown, drawing=shown.drawing)
    return downloads.file(answer, "timeline.svg")


@blueprint.get("/runs.csv")
def runs() -> Response:
    """The runs of the window, one line each."""
    view = View.read(request.args)
    lane = () if view.lane_by == "type" else (view.lane_by,)
    columns = ("job_id", "attempt", "type", *lane, *_TIMES)
    return downloads.table(_rows(_runs(db.session(), view), lane), columns, "timeline.csv")


def _around(session: Session, view: View, job_id: int) -> str:
    """The address of the window in which the job ran, and half as much before and after."""
    job = job_record.get(session, str(job_id), g.actor.owner_name)
    if job.started_at is None:
        return view.url({"range": "24h"})
    ended_at = job.ended_at or view.now
    margin = max((ended_at - job.started_at) / 2, _LEAST_MARGIN)
    return view.span_url(job.started_at - margin, ended_at + margin)


def _read(session: Session, view: View) -> Shown:
    window, runs = view.window, _runs(session, view)
    until = window.until
    since = min(runs.since(window.since), until)
    swept = runs.swept(since, until)
    spans: list[Span] = []
    beside: list[Beside] = []
    if view.job_id is not None:
        spans, beside = collisions.beside(runs, view.job_id, since, until)
    elif view.pair is not None:
        spans = collisions.together(runs, *view.pair, since, until)
    lanes = timeline_ahead.with_waiting(
        timeline.lanes(session, runs, window.since, until), _waiting(session, view)
    )
    lanes = timeline_ahead.with_planned(lanes, _planned(session, view), until - window.since)
    seen = machines.read(session, view.window)
    drawing = Drawing(
        lanes,
        swept.concurrency,
        _visible(spans, until - window.since),
        window.since,
        until,
        view.now,
        seen,
        runs.known_from,
        are_types=view.lane_by == "type",
    )
    return Shown(runs, swept, spans, beside, drawing, seen, since)


def _planned(session: Session, view: View) -> list[timeline_planned.Planned]:
    return timeline_planned.read(
        session,
        now=view.now,
        until=view.window.until,
        lane_by=view.lane_by,
        task=view.window.type,
        owner_id=g.actor.owner_filter,
        owner_name=g.actor.owner_name,
    )


def _count_periodic(session: Session, view: View) -> int:
    """Of Procrastinate's own periodic tasks, where what is planned is shown: when they run is not known."""
    if view.window.until <= view.now or g.actor.owner_filter is not None:
        return 0
    return len(schedules.list_periodic(session))


def _waiting(session: Session, view: View) -> list[timeline_waiting.WaitingLane]:
    return timeline_waiting.read(
        session,
        current_settings(),
        until=view.window.until,
        now=view.now,
        lane_by=view.lane_by,
        task=view.window.type,
        owner_name=g.actor.owner_name,
    )


def _runs(session: Session, view: View) -> Runs:
    return timeline_runs.read(
        session,
        since=view.window.since,
        until=view.window.until,
        now=view.now,
        lane_by=view.lane_by,
        task=view.window.type,
        owner_name=g.actor.owner_name,
    )


def _visible(spans: list[Span], length: timedelta) -> list[Span]:
    """As few bands as can be told apart: what is closer than a thousandth of the window is one."""
    joined: list[Span] = []
    for span in spans:
        if joined and span.since - joined[-1].until < length / 1000:
            joined[-1] = Span(joined[-1].since, span.until)
        else:
            joined.append(span)
    return joined


def _types(session: Session, view: View) -> list[str]:
    names = [each.name for each in job_types.list_types(session, g.actor.owner_name)]
    chosen = view.window.type
    return names if chosen in (None, *names) else [*names, str(chosen)]


def _latest(runs: Runs) -> list[tuple[int, str, str | None, datetime, datetime]]:
    """The runs that began last, for those who read the picture as a table."""
    found = []
    for each in range(runs.size - 1, max(-1, runs.size - 1 - _LATEST), -1):
        _, task, outcome = runs.groups[runs.group[each]]
        found.append(
            (
                int(runs.jobs[each]),
                task,
                outcome,
                moment(runs.starts[each]),
                moment(runs.ends[each]),
            )
        )
    return found


def _rows(runs: Runs, lane: Sequence[str]) -> Iterator[list[list[Any]]]:
    """Some at once, in the order of the columns; with its lane, unless that is its type."""
    for begin in range(0, runs.size, _ROWS_AT_ONCE):
        end = min(begin + _ROWS_AT_ONCE, runs.size)
        yield [_row(runs, each, has_lane=bool(lane)) for each in range(begin, end)]


def _row(runs: Runs, each: int, *, has_lane: bool) -> list[Any]:
    lane, task, outcome = runs.groups[runs.group[each]]
    started_at, ended_at = moment(runs.starts[each]), moment(runs.ends[each])
    return [
        int(runs.jobs[each]),
        int(runs.numbers[each]),
        task,
        *([lane] if has_lane else []),
        outcome or "running",
        started_at,
        ended_at if outcome else None,
        (ended_at - started_at).total_seconds(),
    ]
