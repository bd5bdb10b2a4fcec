"""The timeline: what ran beside what."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from flask import Blueprint, Response, g, redirect, render_template, request
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as BaseResponse

from app.core import collisions, contention, job_record, job_types, timeline, timeline_runs
from app.core.collisions import Beside, Span
from app.core.export_formats import cell
from app.core.overlaps import Overlaps, TypePair, moment
from app.core.timeline_runs import Runs
from app.extensions import db
from app.pages.fragments import here, wants_fragment
from app.pages.timeline_drawing import Drawing
from app.pages.timeline_view import View

blueprint = Blueprint("timeline", __name__, url_prefix="/timeline")

_MOST_TYPES = 12
_LATEST = 20
_MOST_ADVICE = 3
# How much more than the window the map below it shows.
_MAP = 7
_MAP_MOST = timedelta(days=31)
_LEAST_MARGIN = timedelta(seconds=10)


@dataclass(frozen=True)
class Matrix:
    """Types against types; `pairs` by both names, `most` the most seconds of one."""

    types: list[str]
    pairs: dict[tuple[str, str], TypePair]
    most: float

    @classmethod
    def of(cls, by_pair: list[TypePair]) -> Matrix:
        seconds: dict[str, float] = {}
        pairs = {}
        for pair in by_pair:
            for one, other in {(pair.type1, pair.type2), (pair.type2, pair.type1)}:
                pairs[one, other] = pair
                seconds[one] = seconds.get(one, 0.0) + pair.overlap_seconds
        types = sorted(seconds, key=lambda name: (-seconds[name], name))[:_MOST_TYPES]
        return cls(types, pairs, max((pair.overlap_seconds for pair in by_pair), default=0.0))

    def level(self, pair: TypePair) -> int:
        """How much of the most it is, from 1 to 5."""
        return 1 + min(4, int(5 * pair.overlap_seconds / self.most)) if self.most else 1


@dataclass(frozen=True)
class Shown:
    """All that a page, its picture or its table is made of."""

    runs: Runs
    swept: Overlaps
    spans: list[Span]
    beside: list[Beside]
    drawing: Drawing

    @property
    def together_seconds(self) -> float:
        return sum(span.seconds for span in self.spans)


@blueprint.get("")
def index() -> str | BaseResponse:
    """The page, or only what changes on it."""
    session, view = db.session(), View.read(request.args)
    if view.job_id is not None and "range" not in request.args:
        return redirect(_around(session, view, view.job_id))
    shown = _read(session, view)
    return render_template(
        "timeline/_timeline.html" if wants_fragment() else "timeline/index.html",
        view=view,
        shown=shown,
        drawing=shown.drawing,
        matrix=Matrix.of(shown.swept.by_pair),
        overview=_overview(session, view),
        types=_types(session, view),
        latest=_latest(shown.runs),
        advice=contention.advise(
            session, shown.runs, view.window.since, view.window.until, g.actor.owner_filter
        )[:_MOST_ADVICE],
        here=here(),
    )


@blueprint.get("/picture.svg")
def picture() -> Response:
    """The picture by itself, with its colours in it."""
    view = View.read(request.args)
    shown = _read(db.session(), view)
    answer = render_template("timeline/picture.svg", view=view, shown=shown, drawing=shown.drawing)
    return _download(answer, "image/svg+xml", "timeline.svg")


@blueprint.get("/runs.csv")
def runs() -> Response:
    """The runs of the window, one line each."""
    view = View.read(request.args)
    found = _runs(db.session(), view)
    return _download(_lines(found, view.lane_by), "text/csv; charset=utf-8", "timeline.csv")


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
    since, until = window.since, window.until
    swept = runs.swept(since, until)
    spans: list[Span] = []
    beside: list[Beside] = []
    if view.job_id is not None:
        spans, beside = collisions.beside(runs, view.job_id, since, until)
    elif view.pair is not None:
        spans = collisions.together(runs, *view.pair, since, until)
    lanes = timeline.lanes(session, runs, since, until)
    drawing = Drawing(
        lanes, swept.concurrency, _visible(spans, until - since), since, until, view.now
    )
    return Shown(runs, swept, spans, beside, drawing)


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


@dataclass(frozen=True)
class Overview:
    """The map: a longer time, and where in it the window lies."""

    drawing: Drawing
    since: datetime
    until: datetime
    x: float
    width: float


def _overview(session: Session, view: View) -> Overview:
    window = view.window
    length = window.until - window.since
    span = max(length, min(length * _MAP, _MAP_MOST))
    until = min(window.until + (span - length) / 2, max(view.now, window.until))
    since = until - span
    around = timeline_runs.read(
        session,
        since=since,
        until=until,
        now=view.now,
        task=window.type,
        owner_name=g.actor.owner_name,
    )
    drawing = Drawing([], around.swept(since, until).concurrency, [], since, until, view.now)
    x = drawing.x(window.since)
    return Overview(drawing, since, until, x, max(2.0, drawing.x(window.until) - x))


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


def _lines(runs: Runs, lane_by: str) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(
        ["job_id", "attempt", "type", lane_by, "status", "started_at", "ended_at", "seconds"]
    )
    for each in range(runs.size):
        lane, task, outcome = runs.groups[runs.group[each]]
        started_at, ended_at = moment(runs.starts[each]), moment(runs.ends[each])
        writer.writerow(
            [
                int(runs.jobs[each]),
                int(runs.numbers[each]),
                cell(task),
                cell(lane),
                outcome or "running",
                started_at.isoformat(),
                ended_at.isoformat() if outcome else "",
                (ended_at - started_at).total_seconds(),
            ]
        )
        if buffer.tell() > 65_536:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def _download(body: str | Iterator[str], kind: str, name: str) -> Response:
    answer = Response(body, content_type=kind)
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer
