"""How the jobs of each type, queue, model or status did in a window, and how that changed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy.orm import Session

from app.core import tallies, window_counts
from app.core.job_stats import SLOW_SECONDS
from app.core.rollups import BOUNDS, Histogram
from app.core.window_counts import Step

DIMENSIONS = ("task", "queue", "model", "status")
ENDED = ("completed", "failed", "cancelled")

# A change is told from so many runs on, and if it is this large.
_FEWEST_RUNS = 5
_LEAST_CHANGE = 0.1
_LEAST_POINTS = 0.01


@dataclass(frozen=True)
class Trend:
    """A change against the window before; `direction` is up, down or same, `is_good` None: neither."""

    direction: str
    word: str
    is_good: bool | None = None


@dataclass(frozen=True)
class Line:
    """One name's jobs in a window and in the one of the same length before it."""

    name: str
    now: Step
    before: Step
    running: int
    retrying: int

    @property
    def success_rate(self) -> float | None:
        """0..1 of what completed or failed."""
        return success_rate(self.now)

    @property
    def average_seconds(self) -> float | None:
        """Of the completed runs."""
        return average_seconds(self.now)

    @property
    def is_slow(self) -> bool:
        """Whether its runs take over a minute on average."""
        return (self.average_seconds or 0.0) > SLOW_SECONDS

    @property
    def trends(self) -> list[Trend]:
        """How its duration and its success changed; one that says so where neither did."""
        if not self.before.ended:
            return [Trend("same", "new: nothing ended in the window before")]
        found = [each for each in (self._duration(), self._success()) if each is not None]
        return found or [Trend("same", "about the same")]

    def _duration(self) -> Trend | None:
        now, before = average_seconds(self.now), average_seconds(self.before)
        if now is None or not before or min(self.now.runs, self.before.runs) < _FEWEST_RUNS:
            return None
        change = now / before - 1
        if abs(change) < _LEAST_CHANGE:
            return None
        if change > 0:
            return Trend("up", f"slower by {_share(change)}", is_good=False)
        return Trend("down", f"faster by {_share(-change)}", is_good=True)

    def _success(self) -> Trend | None:
        now, before = success_rate(self.now), success_rate(self.before)
        if now is None or before is None or abs(now - before) < _LEAST_POINTS:
            return None
        if min(_judged(self.now), _judged(self.before)) < _FEWEST_RUNS:
            return None
        words = f"success {_share(before)} to {_share(now)}"
        return Trend("up" if now > before else "down", words, is_good=now > before)


@dataclass(frozen=True)
class Bar:
    """Completed runs from `least` up to `most` seconds."""

    least: float
    most: float
    runs: int


@dataclass(frozen=True)
class Course:
    """How many of one name's jobs ended in each step, by how they ended."""

    name: str
    steps: list[dict[str, int]]

    @property
    def total(self) -> int:
        return sum(sum(step.values()) for step in self.steps)


def by_type(
    session: Session, *, since: datetime, until: datetime, owner_name: str | None
) -> list[Line]:
    """Every type that ended in the window or runs now, the most frequent first."""
    return by(session, "task", since=since, until=until, owner_name=owner_name)


def by(
    session: Session,
    dimension: str,
    *,
    since: datetime,
    until: datetime,
    owner_name: str | None,
) -> list[Line]:
    """Every name of a dimension with jobs that ended in the window or run now, the most frequent first."""
    now = _count(session, dimension, since, until, owner_name)
    before = _count(session, dimension, since - (until - since), since, owner_name)
    open_ = tallies.count(
        session, dimension, since=until, until=until, owner_name=owner_name, with_waiting=True
    )
    lines = []
    for name in now.keys() | open_.keys():
        jobs = {status: tally.jobs for status, tally in open_.get(name, {}).items()}
        line = Line(
            name,
            now.get(name) or Step(since),
            before.get(name) or Step(since),
            running=jobs.get("running", 0),
            retrying=jobs.get("retrying", 0),
        )
        if line.now.ended or line.running or line.retrying:
            lines.append(line)
    return sorted(lines, key=lambda line: (-line.now.ended, line.name))


def courses(
    session: Session,
    dimension: str,
    *,
    since: datetime,
    until: datetime,
    step_seconds: int,
    owner_name: str | None,
) -> tuple[list[datetime], list[Course]]:
    """When the steps of a window begin, and each name's course, the most frequent first."""
    origin = datetime.fromtimestamp(since.timestamp() // step_seconds * step_seconds, UTC)
    count = max(1, math.ceil((until - origin).total_seconds() / step_seconds))
    begins = [origin + timedelta(seconds=step_seconds * number) for number in range(count)]
    found: dict[str, Course] = {}
    rows = window_counts.read(
        session,
        dimension,
        since=since,
        until=until,
        owner_name=owner_name,
        steps=(origin, step_seconds),
    )
    for row in rows:
        if row.name not in found:
            found[row.name] = Course(row.name, [dict.fromkeys(ENDED, 0) for _ in begins])
        found[row.name].steps[min(max(row.step, 0), count - 1)][row.status] += row.jobs
    return begins, sorted(found.values(), key=lambda course: (-course.total, course.name))


def durations(histogram: Histogram) -> list[Bar]:
    """A histogram in doublings of time, from the first that has a run to the last."""
    groups: dict[int, int] = {}
    for place, runs in enumerate(histogram.tolist()):
        power = int(math.log2(BOUNDS[place - 1])) if place else -1
        groups[power] = groups.get(power, 0) + runs
    filled = [power for power, runs in groups.items() if runs]
    if not filled:
        return []
    return [
        Bar(0.0 if power < 0 else 2**power / 1000, 2 ** (power + 1) / 1000, groups.get(power, 0))
        for power in range(min(filled), max(filled) + 1)
    ]


def _count(
    session: Session, dimension: str, since: datetime, until: datetime, owner_name: str | None
) -> dict[str, Step]:
    found: dict[str, Step] = {}
    rows = window_counts.read(
        session, dimension, since=since, until=until, owner_name=owner_name, with_histograms=True
    )
    for row in rows:
        found.setdefault(row.name, Step(since)).add(row)
    return found


def _judged(step: Step) -> int:
    return step.completed + step.failed


def success_rate(step: Step) -> float | None:
    """0..1 of what completed or failed; None where there is nothing to judge."""
    return step.completed / _judged(step) if _judged(step) else None


def average_seconds(step: Step) -> float | None:
    """Of the completed runs."""
    return step.run_ms / step.runs / 1000 if step.runs else None


def _share(share: float) -> str:
    return f"{share * 100:.{0 if share >= 0.1 else 1}f} %"
