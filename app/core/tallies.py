"""Tallies: the jobs of one name and status in a window of time, exact at any moment.

A window holds the jobs that ended in it, and what is open now. Whole days and hours come from the
rollups, the edges from the jobs' rows, in one statement.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from app.core.rollups import BOUNDS, BUCKETS, Histogram
from app.core.sql import statement

# How Postgres sends int4[]: five words of heading, then for each number its size and itself.
_WORDS = 5 + 2 * BUCKETS


def _empty() -> Histogram:
    return np.zeros(BUCKETS, dtype=np.int64)


@dataclass
class Tally:
    """Jobs of one status; durations are of the `runs` among them that were started.

    `later` counts those that are not due yet; `oldest_due_at` is since when the first of those that wait,
    and not for other jobs, has been due. `last_started_at` is the latest run's start.
    """

    jobs: int = 0
    later: int = 0
    runs: int = 0
    run_ms: int = 0
    min_run_ms: int | None = None
    max_run_ms: int | None = None
    last_started_at: datetime | None = None
    oldest_due_at: datetime | None = None
    waits: int = 0
    wait_ms: int = 0
    histogram: Histogram = field(default_factory=_empty)

    def add(self, row: Any) -> None:
        """Take in a row of the statement."""
        for name in ("jobs", "later", "runs", "run_ms", "waits", "wait_ms"):
            setattr(self, name, getattr(self, name) + getattr(row, name))
        self.min_run_ms = _least(min, self.min_run_ms, row.min_run_ms)
        self.max_run_ms = _least(max, self.max_run_ms, row.max_run_ms)
        self.last_started_at = _least(max, self.last_started_at, row.last_started_at)
        self.oldest_due_at = _least(min, self.oldest_due_at, row.oldest_due_at)
        self.histogram += summed(row.histograms, row.buckets)


def summed(histograms: bytes | None, buckets: bytes | None) -> Histogram:
    """The sum of histograms as `array_send` gives them, and of single buckets as `int2send` does."""
    total = _empty()
    if histograms:
        words = np.frombuffer(histograms, dtype=">i4").reshape(-1, _WORDS)
        total += words[:, 6::2].sum(axis=0, dtype=np.int64)
    if buckets:
        total += np.bincount(np.frombuffer(buckets, dtype=">i2"), minlength=BUCKETS)
    return total


def _least(choose: Any, one: Any, other: Any) -> Any:
    return choose((value for value in (one, other) if value is not None), default=None)


Tallies = dict[str, dict[str, Tally]]


def count(
    session: Session,
    dimension: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    owner_name: str | None = None,
    with_waiting: bool = False,
    histograms_of: Sequence[str] = (),
) -> Tallies:
    """Tallies by a dimension's name (task, queue, model or status) and then by stored status.

    Those that run are always counted, those that wait only when asked for. With `owner_name` only
    that user's jobs are. Histograms are of the statuses named.
    """
    asked = {
        "dimension": dimension,
        "since": since,
        "until": until,
        "with_waiting": with_waiting,
        "bounds": BOUNDS,
        "histograms": list(histograms_of),
    }
    if owner_name is None:
        rows: Iterable[Any] = session.execute(statement("tallies", "tally"), asked)
    else:
        asked["owner_name"] = owner_name
        rows = session.execute(statement("tallies", "owned"), asked)
    tallies: Tallies = {}
    for row in rows:
        tallies.setdefault(row.name, {}).setdefault(row.status, Tally()).add(row)
    return tallies


def oldest_due_at(counted: Iterable[Tally]) -> datetime | None:
    """Since when the job that waits longest has been due, where one is and what waits was counted."""
    due = (tally.oldest_due_at for tally in counted)
    return min((at for at in due if at is not None), default=None)
