"""A job's company: which other jobs ran while it did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from app.core.models import Attempt
from app.core.sql import statement

# So many of the runs that ended after a run began are looked at.
MOST_RUNS = 20_000
LISTED = 12


@dataclass(frozen=True)
class Company:
    """Who ran beside a run, most shared time first; `jobs` counts them all.

    A row has `job_id`, `task`, `seconds` (shared) and `is_running`.
    """

    rows: Sequence[Row[Any]] = ()

    @property
    def jobs(self) -> int:
        return self.rows[0].jobs if self.rows else 0

    @property
    def is_cut(self) -> bool:
        """Whether more runs ended after it began than are looked at."""
        return bool(self.rows and self.rows[0].is_cut)


def find(
    session: Session, attempt: Attempt, owner_name: str | None, *, limit: int = LISTED
) -> Company:
    """The company of one run, of a user's or (None) of everybody's jobs: the first `limit` of it."""
    asked = {
        "job_id": attempt.job_id,
        "since": attempt.started_at,
        "until": attempt.ended_at or datetime.now(UTC),
        "owner_name": owner_name,
        "most": MOST_RUNS,
        "limit": limit,
    }
    return Company(session.execute(statement("overlaps", "beside"), asked).all())
