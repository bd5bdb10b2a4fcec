"""Which jobs a list or a search is about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import CTE, ColumnElement, Select, Subquery, and_, func, literal_column, or_, select
from sqlalchemy.orm import Session

from app.core.models import JOB_STATUSES, Job
from app.core.status import has_status, is_one_of

# Counting stops here: an exact count of a large record costs more than the page itself.
COUNT_LIMIT = 10_000

STORED = {"scheduled": "pending"}

HAS_ERROR = and_(
    Job.status != literal_column("'completed'"),
    or_(Job.error_message.is_not(None), has_status("failed")),
)
_OTHER_ERROR = and_(
    Job.error_message.is_not(None),
    Job.status != literal_column("'completed'"),
    Job.status != literal_column("'failed'"),
)


@dataclass(frozen=True)
class Matching:
    """Which jobs. `among` has the keys (`created_at`, `id`) of a few that they are part of.

    `has_error`: only those that failed, or have an error's message and did not do well after it.
    """

    statuses: frozenset[str] | None = None
    has_error: bool = False
    conditions: tuple[ColumnElement[bool], ...] = ()
    among: Subquery | CTE | None = None

    def where(self, *conditions: ColumnElement[bool]) -> Matching:
        """Those of them for which these hold as well."""
        return replace(self, conditions=(*self.conditions, *conditions))

    def of(self, statuses: frozenset[str] | None) -> Matching:
        """Those of them that are shown with one of these statuses."""
        if statuses is None:
            return self
        if self.statuses is not None:
            statuses = statuses & self.statuses
        return replace(self, statuses=statuses)

    @property
    def is_everything(self) -> bool:
        return self == Matching()

    @property
    def is_walkable(self) -> bool:
        """Whether one index gives exactly these jobs in the order of their creation."""
        conditions = len(self.conditions) + self.has_error + (self.statuses is not None)
        return conditions <= 1 and self.among is None

    def select(self, *columns: Any) -> Select[Any]:
        """These columns of the matching jobs."""
        query = select(*columns).select_from(Job)
        if self.among is not None:
            keys = self.among.c
            query = query.join(
                self.among, and_(Job.created_at == keys.created_at, Job.id == keys.id)
            )
        if self.statuses is not None:
            query = query.where(is_one_of(self.statuses))
        if self.has_error:
            query = query.where(HAS_ERROR)
        return query.where(*self.conditions)

    def by_stored_status(self) -> Iterator[Matching]:
        """The same jobs in parts of one stored status each, as the index on it has them."""
        if self.has_error:
            # The failed ones have indexes as those of any status; few of the others have an error.
            jobs = replace(self, has_error=False)
            yield from jobs.of(frozenset({"failed"})).by_stored_status()
            yield jobs.where(_OTHER_ERROR)
            return
        if not self.statuses:  # all, or none
            yield self
            return
        for stored in JOB_STATUSES:
            part = frozenset(s for s in self.statuses if STORED.get(s, s) == stored)
            if part:
                yield replace(self, statuses=part)


def count(session: Session, matching: Matching) -> int:
    """How many match; COUNT_LIMIT + 1 where there are more than COUNT_LIMIT."""
    some = matching.select(literal_column("1")).limit(COUNT_LIMIT + 1).subquery()
    return session.scalar(select(func.count()).select_from(some)) or 0
