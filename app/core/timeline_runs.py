"""The runs of a window as columns: what the timeline draws and compares.

A run is an attempt of a job, as in overlaps.py. Times are microseconds since 2000.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from sqlalchemy.orm import Session

from app.core import overlaps
from app.core.overlaps import Ints
from app.core.sql import statement

LaneBy = Literal["type", "queue", "worker", "model", "user"]
LANES: tuple[LaneBy, ...] = ("type", "queue", "worker", "model", "user")
MOST_RUNS = 200_000


@dataclass(frozen=True)
class Runs:
    """Columns of equal length, by start. `groups` says what each number in `group` stands for:
    (lane, type, outcome); no lane is None, and the outcome of what runs is None.
    """

    groups: Sequence[tuple[str | None, str, str | None]]
    group: Ints
    jobs: Ints
    created: Ints
    numbers: Ints
    starts: Ints
    ends: Ints
    known_from: datetime | None

    @property
    def is_capped(self) -> bool:
        """Whether some are missing: of those that ended before `known_from`."""
        return self.known_from is not None

    def since(self, since: datetime) -> datetime:
        """From when on within a window that begins at `since` none is missing."""
        return since if self.known_from is None else max(since, self.known_from)

    @property
    def size(self) -> int:
        return len(self.jobs)

    @property
    def types(self) -> list[str]:
        return sorted({task for _, task, _ in self.groups})

    def of_type(self, task: str) -> npt.NDArray[np.bool_]:
        """Which runs are of that type."""
        return self._where(lambda group: group[1] == task)

    def has_failed(self) -> npt.NDArray[np.bool_]:
        """Which runs ended badly."""
        return self._where(lambda group: group[2] in ("failed", "lost"))

    def _where(self, is_it: Any) -> npt.NDArray[np.bool_]:
        chosen = np.array([bool(is_it(group)) for group in self.groups], dtype=bool)
        return chosen[self.group] if len(chosen) else np.zeros(0, dtype=bool)

    def swept(self, since: datetime, until: datetime) -> overlaps.Overlaps:
        """Pairs of types, concurrency and peak within the window."""
        return overlaps.sweep(self._within(since, until), 0)

    def concurrency(self, since: datetime, until: datetime) -> list[overlaps.Point]:
        """How many ran at once within the window."""
        return overlaps.concurrency(self._within(since, until))

    def _within(self, since: datetime, until: datetime) -> overlaps.Runs:
        types = self.types
        kind_of_group = np.array([types.index(task) for _, task, _ in self.groups], dtype=np.int64)
        kinds = kind_of_group[self.group] if self.size else np.zeros(0, dtype=np.int64)
        runs = overlaps.Runs(
            types, self.jobs, self.numbers, kinds, self.starts, self.ends, self.starts, self.ends
        )
        return runs.within(overlaps.number(since), overlaps.number(until))


def read(
    session: Session,
    *,
    since: datetime,
    until: datetime,
    now: datetime,
    lane_by: LaneBy = "type",
    task: str | None = None,
    owner_name: str | None = None,
) -> Runs:
    """The newest MOST_RUNS runs that share time with the window, of one type if that is named.

    What has not ended runs until `now`. Of one user's, where named, those among the newest MOST_RUNS of
    all. The newest are those that ended last: from when the first of them ended on, none is missing.
    """
    which = "runs_by_job" if lane_by in ("model", "user") else "runs"
    rows = session.execute(
        statement("timeline", which),
        {
            "since": since,
            "until": until,
            "now": now,
            "lane_by": lane_by,
            "task": task,
            "owner_name": owner_name,
            "most": MOST_RUNS,
        },
    ).all()
    looked_at, known_from = rows[0].looked_at, rows[0].reaches_to
    rows = [row for row in rows if row.task is not None]
    jobs, created, numbers, starts, ends = (
        np.frombuffer(b"".join(getattr(row, name) for row in rows), dtype=">i8").astype(np.int64)
        for name in ("jobs", "created", "numbers", "starts", "ends")
    )
    group = np.repeat(np.arange(len(rows)), [len(row.jobs) // 8 for row in rows])
    ends = np.maximum(ends, starts)
    order = np.lexsort((jobs, starts))
    return Runs(
        [(row.lane, row.task, row.outcome) for row in rows],
        group[order],
        jobs[order],
        created[order],
        numbers[order],
        starts[order],
        ends[order],
        known_from=known_from if looked_at >= MOST_RUNS else None,
    )
