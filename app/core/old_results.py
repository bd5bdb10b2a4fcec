"""What jobs returned, when it is past its lifetime: an object that says so takes its place."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.orm import Session

from app.core.settings import Settings
from app.core.sql import statement

# What stands for it then (docs/reference/record.md).
EXPIRED = {"$stoker": "expired"}

# Where a walk begins; it is at its end when there is no place.
Place = tuple[datetime, int]
BEGIN: Place = (datetime(1970, 1, 1, tzinfo=UTC), -1)


def count(session: Session, settings: Settings) -> int:
    """How many results are past their lifetime."""
    times = _times(settings)
    if times is None:
        return 0
    return int(session.execute(statement("old_results", "count"), times).scalar_one())


def expire(
    session: Session, settings: Settings, place: Place, limit: int
) -> tuple[int, Place | None]:
    """Empty the next results and remove their files, in the caller's transaction.

    How many they were, and where to go on.
    """
    times = _times(settings)
    if times is None:
        return 0, None
    rows = session.execute(
        statement("old_results", "expire"),
        {**times, "at": place[0], "id": place[1], "limit": limit},
    ).all()
    for row in rows:
        if row.file_name is not None:
            # Its name alone: what an app's workers wrote is not to lead elsewhere.
            (settings.results_path / Path(row.file_name).name).unlink(missing_ok=True)
    last = (rows[-1].ended_at, rows[-1].id) if len(rows) == limit else None
    return len(rows), last


def _times(settings: Settings) -> dict[str, object] | None:
    """The lifetimes as parameters; None when every result stays as long as its job."""
    by_task = settings.task_result_ttl_seconds
    seconds = [ttl for ttl in (settings.result_ttl_seconds, *by_task.values()) if ttl > 0]
    if not seconds:
        return None
    return {
        "by_task": json.dumps(by_task),
        "seconds": settings.result_ttl_seconds,
        "least_seconds": min(seconds),
    }
