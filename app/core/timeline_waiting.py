"""What waits now, in the timeline's lanes: not yet a run, and not counted as one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy.orm import Session

from app.core import admission
from app.core.settings import Settings
from app.core.sql import statement
from app.core.timeline_runs import LaneBy

# Shown of each lane; all end now, so that each takes a row.
EACH = 3
# Of so many of each status, those that were made first, it is looked which wait longest.
MOST = 10_000
_MOST_ROWS = 200


@dataclass(frozen=True)
class Waiting:
    """A job that is due and has not started, or is to be tried again; `reason` where one is known."""

    job_id: int
    type: str
    since: datetime
    is_retry: bool
    reason: str | None = None


@dataclass(frozen=True)
class WaitingLane:
    """`first` are those that wait longest of the `waits` that wait, or of more where `has_more`."""

    name: str | None
    waits: int
    first: tuple[Waiting, ...]
    has_more: bool = False


def read(
    session: Session,
    settings: Settings,
    *,
    until: datetime,
    now: datetime,
    lane_by: LaneBy = "type",
    task: str | None = None,
    owner_name: str | None = None,
) -> list[WaitingLane]:
    """What waits now and has waited before `until`: of one type, of one user, where named."""
    rows = session.execute(
        statement("timeline", "waiting"),
        {
            "until": until,
            "now": now,
            "lane_by": lane_by,
            "task": task,
            "owner_name": owner_name,
            "each": EACH,
            "most": MOST,
            "rows": _MOST_ROWS,
        },
    ).all()
    holds = admission.reasons(session, settings, rows)
    found = []
    for name, each in groupby(rows, key=lambda row: row.lane):
        lane = list(each)
        # What failed after the window waits since then.
        first = [row for row in lane if row.waits_since < until]
        if first:
            waits = lane[0].waits - len(lane) + len(first)
            told = tuple(_waiting(row, holds) for row in first)
            found.append(WaitingLane(name, waits, told, lane[0].has_more))
    return found


def _waiting(row: Any, holds: dict[int, str]) -> Waiting:
    reason = holds.get(row.id)
    if row.needs:
        reason = f"waits for {row.needs} other job{'' if row.needs == 1 else 's'} to complete"
    return Waiting(row.id, row.task, row.waits_since, row.status == "retrying", reason)
