"""Rollups: how many jobs ended in each hour and day, how, and how long they waited and ran.

They equal the jobs' rows exactly. An hour is counted again each minute until it has been over for
an hour (a slow transaction may end a job late), and whenever a job of it began anew or was removed;
a day is the sum of its hours once they are settled. What is not counted yet, readers take from
the jobs themselves (app.core.tallies), so what they say is right at any time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
from sqlalchemy import DateTime, func, select
from sqlalchemy.orm import Session

from app.core.sql import statement

Histogram = npt.NDArray[np.int64]

# Where buckets of durations begin, in ms: four to each doubling, from 1 ms to 49 days. The middle
# of a bucket (its geometric mean) is within 9 % of every duration in it.
BOUNDS = sorted({int(np.ceil(2 ** (step / 4) - 1e-9)) for step in range(4 * 32 + 1)})
BUCKETS = len(BOUNDS) + 1

_LOCK = 4_080_113_720
_MOST_HOURS = 24
_STEP_SECONDS = 1.0


def refresh(
    session: Session,
    *,
    seconds: float = 30.0,
    is_stopping: Callable[[], bool] = lambda: False,
) -> int:
    """Count what is due, the newest hours first; commits in small steps. How many hours it was.

    Ends after about `seconds`; the rest is for the next time.
    """
    deadline = time.monotonic() + seconds
    due = [hour for (hour,) in session.execute(statement("rollups", "due"))]
    session.commit()
    done, size = 0, 1
    while done < len(due) and time.monotonic() < deadline and not is_stopping():
        began = time.monotonic()
        count_hours(session, due[done : done + size])
        session.commit()
        done += size
        is_quick = time.monotonic() - began < _STEP_SECONDS
        size = min(size * 2, _MOST_HOURS) if is_quick else max(size // 2, 1)
    days = [day for (day,) in session.execute(statement("rollups", "ripe_days"))]
    session.commit()
    for day in days:
        if time.monotonic() > deadline or is_stopping():
            break
        sum_days(session, [day])
        session.commit()
    return min(done, len(due))


def count_hours(session: Session, hours: Sequence[datetime]) -> None:
    """Count these hours from the jobs, in the caller's transaction."""
    moment = _begin(session)
    days = sorted({hour - timedelta(hours=hour.hour) for hour in hours})
    which = {"hours": list(hours), "days": days, "bounds": BOUNDS}
    for name in ("clean", "drop_days", "drop_hours", "fill_hours"):
        session.execute(statement("rollups", name), which)
    _confirm(session, "hour", hours, moment)


def sum_days(session: Session, days: Sequence[datetime]) -> None:
    """Sum these days from their hours, in the caller's transaction."""
    moment = _begin(session)
    for name in ("drop_days", "fill_days"):
        session.execute(statement("rollups", name), {"days": list(days)})
    _confirm(session, "day", days, moment)


def forget(session: Session, before: datetime) -> None:
    """The jobs created before a moment are about to go with their partition.

    To be called in the transaction that drops it, and before that. Days that ended before go
    altogether, and hours after it in which such jobs ended are counted again.
    """
    _begin(session)
    session.execute(statement("rollups", "mark"), {"before": before})
    session.execute(statement("rollups", "forget"), {"before": before})


def _begin(session: Session) -> datetime:
    """One at a time; the moment that what is counted from here on is at least as new as."""
    session.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    return session.execute(select(func.clock_timestamp(type_=DateTime))).scalar_one()


def _confirm(session: Session, span: str, begins: Sequence[datetime], moment: datetime) -> None:
    session.execute(
        statement("rollups", "confirm"), {"span": span, "begins": list(begins), "moment": moment}
    )


def percentile(
    histogram: Histogram, share: float, least_ms: int | None, most_ms: int | None
) -> float | None:
    """The duration in seconds that `share` of them don't exceed, within 9 %; None without any."""
    count = int(histogram.sum())
    if not count or least_ms is None or most_ms is None:
        return None
    rank = max(1, int(np.ceil(share * count - 1e-9)))
    bucket = int(np.searchsorted(np.cumsum(histogram), rank))
    if bucket == 0:
        middle = 0.0
    elif bucket == len(BOUNDS):
        middle = float(most_ms)
    else:
        middle = float(np.sqrt(BOUNDS[bucket - 1] * (BOUNDS[bucket] - 1)))
    return min(max(middle, least_ms), most_ms) / 1000
