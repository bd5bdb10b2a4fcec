"""Overlaps: which runs ran beside which, in a window of time, by a sweep over their ends.

A run is an attempt of a job: [started_at, ended_at), until now while it is open. Two runs overlap
when they share time inside the window; those that only touch do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy.orm import Session

from app.core.errors import Refused
from app.core.sql import statement

MOST_RUNS = 2_000_000
MOST_POINTS = 1000

Ints = npt.NDArray[np.int64]

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)  # Postgres counts microseconds from here
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Run:
    """When a job ran."""

    job_id: int
    job_type: str
    started_at: datetime
    ended_at: datetime


@dataclass(frozen=True)
class Overlap:
    """Two runs that share time; the first one started first."""

    first: Run
    second: Run
    seconds: float


@dataclass(frozen=True)
class TypePair:
    """How often runs of two types overlapped, and for how long in all; type1 <= type2."""

    type1: str
    type2: str
    pairs: int
    overlap_seconds: float


@dataclass(frozen=True)
class Point:
    """How many ran from a moment on."""

    at: datetime
    running: int


@dataclass(frozen=True)
class Overlaps:
    """`overlaps` holds the latest ones, up to the limit; everything else is exact.

    `concurrency` has every change, or, when these are more than MOST_POINTS, for each of as many
    slices of the window the moment when most ran in it. `peak` is None when nothing ran.
    """

    overlaps: list[Overlap]
    count: int
    by_pair: list[TypePair]
    concurrency: list[Point]
    peak: Point | None

    @property
    def is_truncated(self) -> bool:
        """Whether there are more than the list has."""
        return self.count > len(self.overlaps)


def find(
    session: Session,
    *,
    since: datetime,
    until: datetime,
    limit: int,
    task: str | None = None,
    owner_name: str | None = None,
) -> Overlaps:
    """The overlaps of a window, among runs of one type or one user's jobs if these are named.

    Raises Refused when the window has more than MOST_RUNS runs.
    """
    asked = {
        "since": since,
        "until": until,
        "task": task,
        "owner_name": owner_name,
        "most": MOST_RUNS + 1,
    }
    rows = session.execute(statement("overlaps", "runs"), asked).all()
    runs = Runs.read(rows)
    if runs.size > MOST_RUNS:
        raise Refused(
            f"More than {MOST_RUNS:,} jobs ran in this time: ask for fewer hours.", param="hours"
        )
    runs = runs.within(number(since), number(until))
    return sweep(runs, limit)


def number(at: datetime) -> int:
    """Microseconds since 2000, as the columns of runs have them."""
    return (at - _EPOCH) // _MICROSECOND


def moment(microseconds: int | np.int64) -> datetime:
    """The other way round."""
    return _EPOCH + int(microseconds) * _MICROSECOND


@dataclass(frozen=True)
class Runs:
    """Columns of equal length, in microseconds; `kinds` are indexes of `tasks`.

    `starts` and `ends` lie within the window, `began` and `ended` are when the run did.
    """

    tasks: Sequence[str]
    jobs: Ints
    numbers: Ints
    kinds: Ints
    began: Ints
    ended: Ints
    starts: Ints
    ends: Ints

    @property
    def size(self) -> int:
        return len(self.jobs)

    @classmethod
    def read(cls, rows: Sequence[Any]) -> Runs:
        """The rows of the statement."""
        columns = {
            name: b"".join(getattr(row, name) for row in rows)
            for name in ("jobs", "starts", "ends", "numbers")
        }
        jobs, began, ended, numbers = (
            np.frombuffer(columns[name], dtype=">i8").astype(np.int64)
            for name in ("jobs", "starts", "ends", "numbers")
        )
        kinds = np.repeat(np.arange(len(rows)), [len(row.jobs) // 8 for row in rows])
        tasks = [row.task for row in rows]
        return cls(tasks, jobs, numbers, kinds, began, ended, began, ended)

    def taken(self, which: npt.NDArray[Any]) -> Runs:
        """Only these, or in this order."""
        return Runs(
            self.tasks,
            self.jobs[which],
            self.numbers[which],
            self.kinds[which],
            self.began[which],
            self.ended[which],
            self.starts[which],
            self.ends[which],
        )

    def within(self, since: int, until: int) -> Runs:
        """Clipped to the window, without those that have no time in it, ordered by start."""
        ends = self._one_at_a_time()
        starts, ends = np.maximum(self.began, since), np.minimum(ends, until)
        clipped = Runs(
            self.tasks, self.jobs, self.numbers, self.kinds, self.began, self.ended, starts, ends
        )
        lasting = clipped.taken(np.flatnonzero(starts < ends))
        return lasting.taken(np.argsort(lasting.starts, kind="stable"))

    def _one_at_a_time(self) -> Ints:
        """The ends, where a job's run ends at the latest when its next one begins.

        A lost run is closed later than it ended: a job does not overlap itself.
        """
        several = np.flatnonzero(np.isin(self.jobs, self.jobs[self.numbers > 1]))
        if not len(several):
            return self.ended
        several = several[np.lexsort((self.numbers[several], self.jobs[several]))]
        ends = self.ended.copy()
        this, following = several[:-1], several[1:]
        is_same = self.jobs[this] == self.jobs[following]
        this, following = this[is_same], following[is_same]
        ends[this] = np.minimum(ends[this], self.began[following])
        return ends


def sweep(runs: Runs, limit: int) -> Overlaps:
    """All that is known of runs within a window, with so many of their overlaps."""
    if not runs.size:
        return Overlaps([], 0, [], [], None)
    times, steps, order = _events(runs)
    kinds = np.concatenate((runs.kinds, runs.kinds))[order]
    running = np.cumsum(steps)
    count = int((running[steps == 1] - 1).sum())
    at, level = _levels(times, running)
    top = int(np.argmax(level))
    return Overlaps(
        overlaps=_latest(runs, limit) if count else [],
        count=count,
        by_pair=_by_pair(runs.tasks, times, steps, kinds),
        concurrency=_profile(at, level),
        peak=Point(moment(at[top]), int(level[top])),
    )


def concurrency(runs: Runs) -> list[Point]:
    """As in `sweep`, without the rest."""
    if not runs.size:
        return []
    times, steps, _ = _events(runs)
    return _profile(*_levels(times, np.cumsum(steps)))


def _events(runs: Runs) -> tuple[Ints, Ints, Ints]:
    """Starts and ends in order: when, one more or less, and which of all ends and all starts it is."""
    times = np.concatenate((runs.ends, runs.starts))
    steps = np.repeat(np.array([-1, 1]), runs.size)
    # At the same moment ends come first: what only touches does not overlap.
    order = np.argsort(times, kind="stable")
    return times[order], steps[order], order


def _levels(times: Ints, running: Ints) -> tuple[Ints, Ints]:
    """The moments at which the number of runs changes, and what it is from there on."""
    is_last = np.append(times[1:] != times[:-1], True)
    at, level = times[is_last], running[is_last]
    changes = np.append(True, level[1:] != level[:-1])
    return at[changes], level[changes]


def _profile(at: Ints, level: Ints) -> list[Point]:
    if len(at) > MOST_POINTS:
        slices = np.minimum((at - at[0]) * MOST_POINTS // (at[-1] - at[0] + 1), MOST_POINTS - 1)
        # Of each slice the first of the highest.
        begins = np.flatnonzero(np.append(True, slices[1:] != slices[:-1]))
        highest = np.maximum.reduceat(level, begins)
        sizes = np.diff(np.append(begins, len(level)))
        kept = np.flatnonzero(level == np.repeat(highest, sizes))
        kept = kept[np.append(True, slices[kept][1:] != slices[kept][:-1])]
        at, level = at[kept], level[kept]
    return [Point(moment(each), int(running)) for each, running in zip(at, level, strict=True)]


def _by_pair(tasks: Sequence[str], times: Ints, steps: Ints, kinds: Ints) -> list[TypePair]:
    """Pairs and seconds of every two types, exactly, in passes over the events, one type a time.

    Two runs pair when the later one begins. With F(t) the time that a type's runs had lasted by t,
    together, a run from s to e shares F(e) - F(s) with them.
    """
    width = len(tasks)
    pairs = np.zeros((width, width), dtype=np.int64)
    shared = np.zeros((width, width), dtype=np.int64)
    # In whole microseconds, or in coarser units where so much ran that they would not fit.
    most = int(np.cumsum(steps).max())
    unit = 1 + most * most * int(times[-1] - times[0]) // 2**62
    times = (times - times[0]) // unit
    lasts = np.diff(times)
    # The events type by type, to sum what each one has; and of these the starts.
    ordered = np.argsort(kinds, kind="stable")
    present, begins = np.unique(kinds[ordered], return_index=True)
    starts = ordered[steps[ordered] == 1]
    starts_begin = np.searchsorted(kinds[starts], present)
    ordered_steps = steps[ordered]
    for one in present:
        running = np.cumsum(np.where(kinds == one, steps, 0))
        lasted = np.append(0, np.cumsum(running[:-1] * lasts))
        pairs[present, one] = np.add.reduceat(running[starts], starts_begin)
        shared[present, one] = -np.add.reduceat(lasted[ordered] * ordered_steps, begins)
    # Each run was counted beside itself: when it began, and as long as it lasted.
    own = np.bincount(kinds[starts], minlength=width)
    alone = shared.diagonal() - _time_alone(times, steps, kinds, width)
    found = []
    for one in range(width):
        for other in range(one, width):
            is_same = one == other
            number = (
                pairs[one, one] - own[one] if is_same else pairs[one, other] + pairs[other, one]
            )
            units = alone[one] // 2 if is_same else shared[one, other]
            if number:
                found.append(
                    TypePair(tasks[one], tasks[other], int(number), int(units) * unit / 1e6)
                )
    return found


def _time_alone(times: Ints, steps: Ints, kinds: Ints, width: int) -> Ints:
    """How long the runs of each type lasted, all together."""
    total = np.zeros(width, dtype=np.int64)
    np.subtract.at(total, kinds, steps * times)
    return total


def _latest(runs: Runs, limit: int) -> list[Overlap]:
    """The overlaps that began last, the latest first: the sweep, backwards, until there are enough."""
    # Most runs may overlap with none: only those are walked that do with the one before or after.
    latest_end = np.maximum.accumulate(runs.ends)
    meets_earlier = np.append(False, latest_end[:-1] > runs.starts[1:])
    meets_later = np.append(runs.ends[:-1] > runs.starts[1:], False)
    runs = runs.taken(np.flatnonzero(meets_earlier | meets_later))
    size = runs.size
    times = np.concatenate((runs.ends, runs.starts))
    order = np.argsort(times, kind="stable")[::-1]
    found: list[Overlap] = []
    active: dict[int, None] = {}
    for event in order:
        number = int(event)
        if number < size:
            active[number] = None
            continue
        number -= size
        del active[number]
        for other in active:
            if len(found) == limit:
                return found
            found.append(_overlap(runs, number, other))
    return found


def _overlap(runs: Runs, one: int, other: int) -> Overlap:
    first, second = sorted(
        (one, other), key=lambda number: (int(runs.began[number]), int(runs.jobs[number]))
    )
    shared = min(runs.ends[one], runs.ends[other]) - max(runs.starts[one], runs.starts[other])
    return Overlap(_run(runs, first), _run(runs, second), int(shared) / 1e6)


def _run(runs: Runs, number: int) -> Run:
    return Run(
        job_id=int(runs.jobs[number]),
        job_type=runs.tasks[runs.kinds[number]],
        started_at=moment(runs.began[number]),
        ended_at=moment(runs.ended[number]),
    )
