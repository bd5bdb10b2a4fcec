"""Contention: which schedules to move so that less runs at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.core.models import Schedule, ScheduleFiring
from app.core.overlaps import Ints, number
from app.core.timeline_runs import Runs

MOST_RUNS = 20_000
_MOST_SCHEDULES = 10
_MOST_FIRINGS = 10_000
_SHIFTS = (5, 10, 15, 20, 30, 45, 60)  # minutes
_MINUTE = 60_000_000
# A firing is decided before its job runs; how long the job may have waited.
_LONGEST_WAIT = timedelta(days=1)


@dataclass(frozen=True)
class Advice:
    """With this schedule so many minutes later, `after` instead of `before` run at once at most."""

    schedule: str
    minutes: int
    before: int
    after: int


def advise(
    session: Session, runs: Runs, since: datetime, until: datetime, owner_id: int | None
) -> list[Advice]:
    """The schedules whose move would lower the window's peak, what lowers it most first.

    It is what would have been, had the same runs begun later and taken as long. Nothing is said of
    more than MOST_RUNS runs.
    """
    if not 1 < runs.size <= MOST_RUNS:
        return []
    low, high = number(since), number(until)
    before = _peak(runs.starts, runs.ends, low, high)
    found = []
    for name, jobs in _fired(session, since, until, owner_id):
        moved = np.isin(runs.jobs, jobs)
        if not moved.any():
            continue
        peaks = [
            _peak(runs.starts + moved * by, runs.ends + moved * by, low, high)
            for by in (minutes * _MINUTE for minutes in _SHIFTS)
        ]
        after = min(peaks)
        if after < before:
            found.append(Advice(name, _SHIFTS[peaks.index(after)], before, after))
    return sorted(found, key=lambda advice: (advice.after, advice.minutes, advice.schedule))


def _fired(
    session: Session, since: datetime, until: datetime, owner_id: int | None
) -> Sequence[tuple[str, list[int]]]:
    """The schedules with the jobs that came of them."""
    query = (
        select(Schedule.name, ScheduleFiring.job_id)
        .join(Schedule, Schedule.id == ScheduleFiring.schedule_id)
        .where(
            ScheduleFiring.job_id.is_not(None),
            ScheduleFiring.decided_at.between(since - _LONGEST_WAIT, until),
        )
        .order_by(ScheduleFiring.decided_at.desc())
        .limit(_MOST_FIRINGS)
    )
    if owner_id is not None:
        query = query.where(Schedule.owner_id == owner_id)
    jobs: dict[str, list[int]] = {}
    for name, job_id in session.execute(query):
        jobs.setdefault(name, []).append(int(job_id or 0))
    busiest = sorted(jobs.items(), key=lambda each: len(each[1]), reverse=True)
    return busiest[:_MOST_SCHEDULES]


def _peak(starts: Ints, ends: Ints, low: int, high: int) -> int:
    """How many are under way at once at most within the bounds."""
    starts, ends = np.maximum(starts, low), np.minimum(ends, high)
    lasting = starts < ends
    # The lowest bit says what it is; at the same moment ends come first.
    events = np.sort(np.concatenate((starts[lasting] * 2 + 1, ends[lasting] * 2)))
    if not len(events):
        return 0
    return int(np.cumsum(np.where(events & 1, 1, -1)).max())
