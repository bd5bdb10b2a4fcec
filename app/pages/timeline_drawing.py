"""Where on the timeline's picture everything stands, in units of its own coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.core import job_types
from app.core.collisions import Span
from app.core.overlaps import Point
from app.core.samples import Machine
from app.core.timeline import NARROWEST, Bar, Lane, Strip
from app.core.timeline_planned import Planned
from app.core.timeline_waiting import Waiting
from app.pages import timeline_axis, timeline_machines, timeline_words
from app.pages.display import clock, clock_time, duration

LABELS = 150.0
PLOT = 1000.0
AXIS = 22.0
CURVE = 46.0
ROW = 24.0
BAR = 15.0
PAD = 6.0
_LOOKS = {
    None: "running",
    "completed": "completed",
    "failed": "failed",
    "lost": "failed",
    "cancelled": "cancelled",
}


@dataclass(frozen=True)
class DrawnBar:
    """A run: `look` is its class, `tip` says all about it, one fact a line."""

    job_id: int
    number: int
    x: float
    y: float
    width: float
    wait_x: float | None
    look: str
    label: str
    tip: str


@dataclass(frozen=True)
class DrawnStrip:
    """Many runs; `url` leads to the slice of time."""

    x: float
    y: float
    width: float
    height: float
    since: datetime
    until: datetime
    has_failed: bool
    tip: str


@dataclass(frozen=True)
class DrawnLane:
    """A lane from `y` on; `name` is what people call it."""

    name: str
    title: str
    note: str
    waiting: str
    y: float
    height: float
    bars: list[DrawnBar]
    strips: list[DrawnStrip]
    waits: list[DrawnWait]
    plans: list[DrawnPlan]


@dataclass(frozen=True)
class DrawnPlan:
    """What is to start later: of a job that is there, or else of a schedule."""

    job_id: int | None
    schedule_id: int | None
    x: float
    y: float
    width: float
    label: str
    tip: str


@dataclass(frozen=True)
class DrawnWait:
    """A job that has not started: open to the right, up to now."""

    job_id: int
    x: float
    y: float
    width: float
    label: str
    tip: str


@dataclass(frozen=True)
class Band:
    """A stretch of time through all lanes."""

    x: float
    width: float
    tip: str


class Drawing:
    """All of it. `curve` and `crowded` are paths: what ran, and what of it beside something else."""

    def __init__(
        self,
        lanes: Sequence[Lane],
        concurrency: Sequence[Point],
        bands: Sequence[Span],
        since: datetime,
        until: datetime,
        now: datetime,
        machines: Sequence[Machine] = (),
        known_from: datetime | None = None,
        *,
        are_types: bool = False,
    ) -> None:
        self._since = since
        self._are_types = are_types  # what the lanes are of
        self._now = now
        self._seconds = (until - since).total_seconds()
        self.top = max((point.running for point in concurrency), default=0)
        self.curve = self._path(concurrency, until, 0)
        self.crowded = self._path(concurrency, until, 1)
        y = AXIS + CURVE + PAD
        self.machines: list[timeline_machines.DrawnMachine] = []
        for machine in machines:
            self.machines.append(timeline_machines.draw(machine, y, self.x))
            y += timeline_machines.HEIGHT
        self.known_x = self.x(known_from) if known_from is not None else 0.0
        self.lanes: list[DrawnLane] = []
        for lane in lanes:
            drawn = self._lane(lane, y)
            self.lanes.append(drawn)
            y += drawn.height
        self.height = y
        self.ticks = [(self.x(tick.at), tick.word) for tick in timeline_axis.ticks(since, until)]
        self.axis = timeline_axis.heading(since, until)
        self.now_x = self.x(now) if since <= now <= until else None
        self.bands = [
            Band(
                self.x(span.since),
                max(1.0, self.x(span.until) - self.x(span.since)),
                duration(span.seconds),
            )
            for span in bands
        ]

    def x(self, at: datetime) -> float:
        """Where a moment is, within the plot."""
        share = (at - self._since).total_seconds() / self._seconds
        return round(min(max(share, 0.0), 1.0) * PLOT, 1)

    def _path(self, points: Sequence[Point], until: datetime, above: int) -> str:
        """What runs beyond `above`, as an SVG path: an outline for each stretch, so that none is drawn between."""
        if self.top <= above:
            return ""
        bottom = AXIS + CURVE
        unit = (CURVE - 8) / self.top

        def height(running: int) -> float:
            return round(bottom - max(running, above) * unit, 1)

        parts, is_above = [], False
        for point in points:
            x, was_above, is_above = self.x(point.at), is_above, point.running > above
            if is_above and not was_above:
                parts.append(f"M{x} {height(above)}V{height(point.running)}")
            elif is_above or was_above:
                parts.append(f"H{x}V{height(point.running)}" + ("" if is_above else "Z"))
        if is_above:
            parts.append(f"H{self.x(min(until, self._now))}V{height(above)}Z")
        return "".join(parts)

    def _lane(self, lane: Lane, y: float) -> DrawnLane:
        rows = max(lane.rows, *(row + 1 for row, _ in lane.planned), 0)
        height = (rows + len(lane.waiting)) * ROW + PAD
        title = lane.name or ("none" if not lane.others else f"{lane.others} more")
        name = job_types.label(title) if self._are_types else title
        bars, ends = [], [0.0] * lane.rows
        for bar in lane.bars:
            top = y + PAD / 2 + bar.row * ROW + (ROW - BAR) / 2
            drawn = self._bar(bar, top, ends[bar.row])
            ends[bar.row] = drawn.x + drawn.width
            bars.append(drawn)
        strips = [self._strip(strip, y + PAD / 2) for strip in lane.strips]
        top = y + PAD / 2 + rows * ROW + (ROW - BAR) / 2
        waiting = timeline_words.to_come(lane)
        waits = [self._wait(job, top + row * ROW) for row, job in enumerate(lane.waiting)]
        plans = [
            self._plan(planned, y + PAD / 2 + row * ROW + (ROW - BAR) / 2)
            for row, planned in lane.planned
        ]
        return DrawnLane(
            name, title, timeline_words.note(lane), waiting, y, height, bars, strips, waits, plans
        )

    def _plan(self, planned: Planned, y: float) -> DrawnPlan:
        x = self.x(planned.due_at)
        end = planned.due_at + timedelta(seconds=planned.seconds or 0)
        width = round(max(self.x(end) - x, PLOT * NARROWEST), 1)
        name = planned.schedule or f"#{planned.job_id}"
        return DrawnPlan(
            planned.job_id,
            planned.schedule_id,
            min(x, PLOT - width),
            y,
            width,
            _fitting(f"◇ {name}", width),
            timeline_words.planned_tip(planned),
        )

    def _wait(self, job: Waiting, y: float) -> DrawnWait:
        end = self.x(self._now)
        x = min(self.x(job.since), end - PLOT * NARROWEST)
        width = round(end - x, 1)
        label = _fitting(f"◌ #{job.job_id}", width)
        return DrawnWait(job.job_id, x, y, width, label, timeline_words.waiting_tip(job, self._now))

    def _bar(self, bar: Bar, y: float, free_from: float) -> DrawnBar:
        """Its wait is drawn as far as the bar before it in its row leaves room."""
        x = self.x(bar.started_at)
        width = round(max(self.x(bar.ended_at) - x, PLOT * NARROWEST), 1)
        x = min(x, PLOT - width)
        look = _LOOKS.get(bar.outcome, "other")
        wait_x = None
        if bar.wait_seconds:
            begun = max(
                self.x(bar.started_at - timedelta(seconds=bar.wait_seconds)), round(free_from, 1)
            )
            wait_x = begun if x - begun >= 1 else None
        mark = {"failed": "✕", "cancelled": "⊘", "running": "◐"}.get(look, "")
        label = _fitting(f"{mark} #{bar.job_id}".strip(), width) or mark
        return DrawnBar(
            bar.job_id,
            bar.number,
            x,
            y,
            width,
            wait_x,
            look,
            label if width >= 12 else "",
            timeline_words.run_tip(bar),
        )

    def _strip(self, strip: Strip, y: float) -> DrawnStrip:
        x = self.x(strip.since)
        height = round(4 + strip.share * (ROW - 6), 1)
        words = f"{strip.runs:,} run{'' if strip.runs == 1 else 's'} here"
        if strip.failed:
            words += f", {strip.failed:,} of them failed"
        return DrawnStrip(
            x,
            round(y + ROW - height, 1),
            round(max(self.x(strip.until) - x - 0.6, 0.6), 1),
            height,
            strip.since,
            strip.until,
            strip.failed > 0,
            f"{words}\n{clock(strip.since)} to {clock_time(strip.until)}",
        )


def _fitting(words: str, width: float) -> str:
    """The words, where the width has room for all of them."""
    return words if width >= len(words) * timeline_machines.LETTER + 8 else ""
