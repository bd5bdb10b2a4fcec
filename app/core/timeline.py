"""The timeline: what ran beside what, in lanes, with as much detail as can be seen.

A lane has one bar for each run while these can be told apart, in rows so that none covers another;
else strips that say how many runs they stand for. What waits now has rows of its own below them.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
from sqlalchemy.orm import Session

from app.core.overlaps import Ints, moment, number
from app.core.sql import statement
from app.core.timeline_planned import Planned
from app.core.timeline_runs import Runs
from app.core.timeline_waiting import Waiting

MOST_LANES = 30
STRIPS = 120
# A bar is as wide as this share of the window at least, to be seen and to be hit.
NARROWEST = 1 / 400


@dataclass(frozen=True)
class Detail:
    """So many lanes, bars and rows of a lane at most; the bars of what has more are strips."""

    lanes: int = MOST_LANES
    bars: int = 1_200
    rows: int = 24


WHOLE = Detail()
BRIEF = Detail(lanes=8, bars=400, rows=4)


@dataclass(frozen=True)
class Bar:
    """One run; `outcome` is None while it runs. `wait_seconds` before it is None where not known."""

    job_id: int
    number: int
    type: str
    outcome: str | None
    started_at: datetime
    ended_at: datetime
    row: int
    wait_seconds: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class Strip:
    """A slice of the window in which so many runs were under way, so many at once at most."""

    since: datetime
    until: datetime
    runs: int
    failed: int
    share: float


@dataclass(frozen=True)
class Lane:
    """`name` is None for runs without one; `others` is how many lanes this one stands for.

    Of the `waits` jobs (or of more) that wait now, `waiting` are those that have waited longest.
    Of the `plans` that are to start later, `planned` are those that there is room for, by row.
    """

    name: str | None
    runs: int
    failed: int
    rows: int
    bars: tuple[Bar, ...] = ()
    strips: tuple[Strip, ...] = ()
    others: int = 0
    waiting: tuple[Waiting, ...] = ()
    waits: int = 0
    has_more_waiting: bool = False
    planned: tuple[tuple[int, Planned], ...] = ()
    plans: int = 0


def lanes(
    session: Session, runs: Runs, since: datetime, until: datetime, detail: Detail = WHOLE
) -> list[Lane]:
    """The lanes in the order of their names, so that they stay where they are."""
    names = sorted({lane for lane, _, _ in runs.groups}, key=lambda name: (name is None, name))
    members = dict(zip(names, _members(runs, names), strict=True))
    by_size = sorted(names, key=lambda name: len(members[name]), reverse=True)
    shown = set(by_size[: detail.lanes])
    room, packed = detail.bars, {}
    for name in reversed(by_size):
        which, rows = members[name], None
        if name in shown and len(which) <= room:
            rows = _rows(runs, which, since, until, detail.rows)
        if rows is not None:
            packed[name] = rows
            room -= len(which)
    details = _details(session, runs, [members[name] for name in packed])
    failed = runs.has_failed()
    found = [
        _with_bars(name, runs, members[name], packed[name], details, failed)
        if name in packed
        else _with_strips(name, runs, members[name], failed, since, until)
        for name in names
        if name in shown
    ]
    if rest := [name for name in names if name not in shown]:
        which = np.concatenate([members[name] for name in rest])
        found.append(_with_strips(None, runs, which, failed, since, until, others=len(rest)))
    return found


def _members(runs: Runs, names: list[str | None]) -> list[Ints]:
    """The runs of each lane, in one pass: there may be as many lanes as users."""
    numbers = {name: number for number, name in enumerate(names)}
    lane_of_group = np.array([numbers[lane] for lane, _, _ in runs.groups], dtype=np.int64)
    lanes = lane_of_group[runs.group] if runs.size else np.zeros(0, dtype=np.int64)
    order = np.argsort(lanes, kind="stable")
    bounds = np.searchsorted(lanes[order], np.arange(1, len(names)))
    return np.split(order, bounds) if names else []


def _rows(runs: Runs, which: Ints, since: datetime, until: datetime, most: int) -> list[int] | None:
    """A row for each run so that no two share space; None where that takes too many."""
    narrowest = int((until - since) / timedelta(microseconds=1) * NARROWEST)
    low = number(since)
    free: list[int] = list(range(most))
    busy: list[tuple[int, int]] = []
    rows = []
    for each in which:
        start = max(int(runs.starts[each]), low)
        while busy and busy[0][0] <= start:
            heapq.heappush(free, heapq.heappop(busy)[1])
        if not free:
            return None
        row = heapq.heappop(free)
        heapq.heappush(busy, (max(int(runs.ends[each]), start + narrowest), row))
        rows.append(row)
    return rows


def _details(
    session: Session, runs: Runs, chosen: list[Ints]
) -> dict[tuple[int, int], tuple[float | None, str | None]]:
    which = np.concatenate(chosen) if chosen else np.zeros(0, dtype=np.int64)
    if not len(which):
        return {}
    rows = session.execute(
        statement("timeline", "details"),
        {
            "jobs": runs.jobs[which].tolist(),
            "created": [moment(each) for each in runs.created[which]],
            "numbers": runs.numbers[which].tolist(),
        },
    )
    return {
        (row.job_id, row.number): (
            None if row.wait_ms is None else row.wait_ms / 1000,
            ": ".join(part for part in (row.error_type, row.error_message) if part) or None,
        )
        for row in rows
    }


def _with_bars(
    name: str | None,
    runs: Runs,
    which: Ints,
    rows: list[int],
    details: dict[tuple[int, int], tuple[float | None, str | None]],
    failed: npt.NDArray[np.bool_],
) -> Lane:
    bars = []
    for each, row in zip(which, rows, strict=True):
        _, task, outcome = runs.groups[runs.group[each]]
        key = int(runs.jobs[each]), int(runs.numbers[each])
        wait_seconds, error = details.get(key, (None, None))
        bars.append(
            Bar(
                *key,
                task,
                outcome,
                moment(runs.starts[each]),
                moment(runs.ends[each]),
                row,
                wait_seconds,
                error,
            )
        )
    return Lane(name, len(which), int(failed[which].sum()), max(rows) + 1, tuple(bars))


def _with_strips(
    name: str | None,
    runs: Runs,
    which: Ints,
    failed: npt.NDArray[np.bool_],
    since: datetime,
    until: datetime,
    others: int = 0,
) -> Lane:
    low, high = number(since), number(until)
    width = max(1, (high - low) // STRIPS)
    counts = _counts(runs, which, low, width)
    bad = _counts(runs, which[failed[which]], low, width)
    most = max(1, int(counts.max()))
    strips = tuple(
        Strip(
            moment(low + slot * width),
            moment(min(high, low + (slot + 1) * width)),
            int(counts[slot]),
            int(bad[slot]),
            float(counts[slot]) / most,
        )
        for slot in np.flatnonzero(counts)
    )
    return Lane(name, len(which), int(failed[which].sum()), 1, (), strips, others)


def _counts(runs: Runs, which: Ints, low: int, width: int) -> Ints:
    """How many runs were under way at some time in each slice."""
    first = np.clip((runs.starts[which] - low) // width, 0, STRIPS - 1)
    last = np.clip((runs.ends[which] - 1 - low) // width, 0, STRIPS - 1)
    last = np.maximum(last, first)
    changes = np.zeros(STRIPS + 1, dtype=np.int64)
    np.add.at(changes, first, 1)
    np.add.at(changes, last + 1, -1)
    return np.cumsum(changes)[:STRIPS]
