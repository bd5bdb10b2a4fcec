"""How the jobs that a search finds are made up, and which the newest are: read in one pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    DateTime,
    Subquery,
    and_,
    cast,
    func,
    literal_column,
    null,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from app.core.job_matching import Matching
from app.core.job_orders import newest
from app.core.models import Job
from app.core.status import shown_column


@dataclass
class Tallies:
    """How jobs are made up, and the keys of the `first` newest among them (or of all there are).

    With a `bound`, none that was created before it was looked at. `candidates` is what `among` held.
    """

    first: int
    by_status: Counter[str] = field(default_factory=Counter)
    by_type: Counter[str] = field(default_factory=Counter)
    by_queue: Counter[str] = field(default_factory=Counter)
    keys: list[tuple[datetime, int]] = field(default_factory=list)
    bound: datetime | None = None
    candidates: int = 0

    @property
    def total(self) -> int:
        return self.by_status.total()

    def among(self) -> Subquery:
        """The keys, to join."""
        created, ids = ([key[part] for key in self.keys] for part in (0, 1))
        keys = (
            func.unnest(cast(created, ARRAY(DateTime(timezone=True))), cast(ids, ARRAY(BigInteger)))
            .table_valued("created_at", "id")
            .render_derived("key")
        )
        return select(keys.c.created_at, keys.c.id).subquery("among")


def read(
    session: Session,
    matching: Matching,
    conditions: Sequence[ColumnElement[bool]] = (),
    *,
    most: int,
    first: int,
    candidates: CTE | None = None,
) -> Tallies:
    """Tally those for which conditions hold, if there are any, among the newest `most` that match.

    With `candidates`, which `matching` is among: nothing, when there are `most` of them.
    """
    # The conditions are a column, so that reading ends whether or not they hold.
    is_found = and_(true(), *conditions).label("is_found")
    columns = (Job.created_at, Job.id, shown_column().label("status"), Job.task, Job.queue)
    if candidates is not None:
        number = select(func.count()).select_from(candidates).scalar_subquery()
        matching = matching.where(number < most)
    jobs = select(newest(matching, (*columns, is_found), most)).cte("jobs")
    rows = session.execute(_statement(jobs, first, candidates))
    tallies, seen, since = Tallies(first), 0, []
    for status, task, queue, found, of_group, moment, job in rows:
        if job is not None:
            tallies.keys.append((moment, job))
        elif status is None:
            tallies.candidates = of_group
        else:
            seen += of_group
            since.append(moment)
            for counter, name in (
                (tallies.by_status, status),
                (tallies.by_type, task),
                (tallies.by_queue, queue),
            ):
                if found:
                    counter[name] += found
    if conditions and seen >= most:
        tallies.bound = min(since)
    return tallies


def _statement(jobs: CTE, first: int, candidates: CTE | None) -> Any:
    """Rows of three kinds: a group of jobs, a job's keys, how many candidates there are."""
    names = (jobs.c.status, jobs.c.task, jobs.c.queue)
    numbers = (func.count().filter(jobs.c.is_found), func.count(), func.min(jobs.c.created_at))
    no_number = cast(null(), BigInteger)
    parts: list[Any] = [select(*names, *numbers, no_number).group_by(*names)]
    nothing: list[Any] = [literal_column("NULL::text")] * 3
    if first:
        found = select(jobs.c.created_at, jobs.c.id).where(jobs.c.is_found)
        found = found.order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(first)
        keys = found.subquery("first")
        parts.append(select(*nothing, no_number, no_number, keys.c.created_at, keys.c.id))
    if candidates is not None:
        no_moment = cast(null(), DateTime(timezone=True))
        count = func.count()
        parts.append(
            select(*nothing, no_number, count, no_moment, no_number).select_from(candidates)
        )
    return union_all(*parts)
