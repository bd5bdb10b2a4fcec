"""Collisions: when two types of jobs both ran, and what ran beside one job."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from app.core.overlaps import Ints, moment, number
from app.core.timeline_runs import Runs

MOST_BESIDE = 100


@dataclass(frozen=True)
class Span:
    """A stretch of time."""

    since: datetime
    until: datetime

    @property
    def seconds(self) -> float:
        return (self.until - self.since).total_seconds()


@dataclass(frozen=True)
class Beside:
    """A run that shared time with a job's; `seconds` is how much. The outcome of what runs is None."""

    job_id: int
    type: str
    outcome: str | None
    started_at: datetime
    ended_at: datetime
    seconds: float


def together(runs: Runs, one: str, other: str, since: datetime, until: datetime) -> list[Span]:
    """When runs of both types were under way; of one type: when two of it were."""
    bounds = number(since), number(until)
    if one == other:
        return _spans(*_stretches(runs, one, bounds, least=2))
    begins, finishes = _stretches(runs, one, bounds)
    others = _stretches(runs, other, bounds)
    # Both are ordered and free of overlaps: two are under way where both are.
    return _spans(
        *_levels_from(np.concatenate((begins, others[0])), np.concatenate((finishes, others[1])), 2)
    )


def beside(
    runs: Runs, job_id: int, since: datetime, until: datetime
) -> tuple[list[Span], list[Beside]]:
    """When the job ran in the window, and what shared time with it, the longest first."""
    low, high = number(since), number(until)
    starts, ends = np.maximum(runs.starts, low), np.minimum(runs.ends, high)
    own = np.flatnonzero((runs.jobs == job_id) & (starts < ends))
    shared = np.zeros(runs.size, dtype=np.int64)
    for each in own:
        common = np.minimum(ends, ends[each]) - np.maximum(starts, starts[each])
        shared += np.maximum(common, 0)
    shared[runs.jobs == job_id] = 0
    found = np.flatnonzero(shared > 0)
    found = found[np.argsort(-shared[found], kind="stable")][:MOST_BESIDE]
    return (
        [Span(moment(starts[each]), moment(ends[each])) for each in own],
        [
            Beside(
                job_id=int(runs.jobs[each]),
                type=runs.groups[runs.group[each]][1],
                outcome=runs.groups[runs.group[each]][2],
                started_at=moment(runs.starts[each]),
                ended_at=moment(runs.ends[each]),
                seconds=int(shared[each]) / 1e6,
            )
            for each in found
        ],
    )


def _stretches(runs: Runs, task: str, bounds: tuple[int, int], least: int = 1) -> tuple[Ints, Ints]:
    which = runs.of_type(task)
    starts = np.maximum(runs.starts[which], bounds[0])
    ends = np.minimum(runs.ends[which], bounds[1])
    lasting = starts < ends
    return _levels_from(starts[lasting], ends[lasting], least)


def _levels_from(starts: Ints, ends: Ints, least: int) -> tuple[Ints, Ints]:
    """From when until when at least so many are under way. What only touches does not overlap."""
    times = np.concatenate((ends, starts))
    steps = np.repeat(np.array([-1, 1]), len(starts))
    order = np.argsort(times, kind="stable")
    times, running = times[order], np.cumsum(steps[order])
    is_last = np.append(times[1:] != times[:-1], True) if len(times) else np.zeros(0, dtype=bool)
    times, is_enough = times[is_last], running[is_last] >= least
    changes = np.flatnonzero(np.diff(np.concatenate(([False], is_enough)).astype(np.int8)))
    return times[changes[::2]], times[changes[1::2]]


def _spans(begins: Ints, finishes: Ints) -> list[Span]:
    return [
        Span(moment(begin), moment(finish)) for begin, finish in zip(begins, finishes, strict=True)
    ]
