"""The jobs that ended in a window, counted: by name, by status and, if asked for, by steps of time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy.orm import Session

from app.core import rollups
from app.core.rollups import BOUNDS, BUCKETS, Histogram
from app.core.sql import statement
from app.core.tallies import summed


def _none() -> Histogram:
    return np.zeros(BUCKETS, dtype=np.int64)


@dataclass
class Step:
    """The jobs that ended from `begins_at` until the next step; waits are of all that were started."""

    begins_at: datetime
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    runs: int = 0
    run_ms: int = 0
    min_run_ms: int | None = None
    max_run_ms: int | None = None
    run_histogram: Histogram = field(default_factory=_none, repr=False)
    wait_histogram: Histogram = field(default_factory=_none, repr=False)

    @property
    def ended(self) -> int:
        """All of them."""
        return self.completed + self.failed + self.cancelled

    def add(self, row: Any) -> None:
        """Take in a row of the statement. Runs are those of completed jobs."""
        setattr(self, row.status, getattr(self, row.status) + row.jobs)
        self.wait_histogram += summed(row.wait_histograms, row.wait_buckets)
        if row.status != "completed":
            return
        self.runs += row.runs
        self.run_ms += row.run_ms
        self.run_histogram += summed(row.run_histograms, row.run_buckets)
        for name, choose in (("min_run_ms", min), ("max_run_ms", max)):
            known = [each for each in (getattr(self, name), getattr(row, name)) if each is not None]
            setattr(self, name, choose(known, default=None))

    def run_seconds(self, share: float) -> float | None:
        """What `share` (0..1) of the completed runs don't exceed, within 9 %."""
        return rollups.percentile(self.run_histogram, share, self.min_run_ms, self.max_run_ms)

    def wait_seconds(self, share: float) -> float | None:
        """What `share` (0..1) of the waits until the first start don't exceed, within 9 %."""
        return rollups.percentile(self.wait_histogram, share, 0, BOUNDS[-1])


def read(
    session: Session,
    dimension: str,
    *,
    since: datetime,
    until: datetime,
    owner_name: str | None,
    name: str | None = None,
    steps: tuple[datetime, int] | None = None,
    with_histograms: bool = False,
) -> Iterable[Any]:
    """Rows that `Step.add` takes in, each with its `name` of the dimension (task, queue, model, status).

    Of one name or all, of one user or (None) everybody. `steps` says from when on and how many seconds
    long each is that `row.step` counts; without them it is 0.
    """
    asked: dict[str, Any] = {
        "dimension": dimension,
        "name": name,
        "since": since,
        "until": until,
        "bounds": BOUNDS,
        "with_histograms": with_histograms,
        "by_step": steps is not None,
        "origin": steps[0] if steps else since,
        "step": float(steps[1]) if steps else 86_400.0,
    }
    if owner_name is None:
        return session.execute(statement("window_counts", "counts"), asked)
    return session.execute(
        statement("window_counts", "owned_counts"), {**asked, "owner_name": owner_name}
    )
