"""The platform's lists: active, pending, completed and failed jobs, each with what matters of its kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from flask import url_for
from sqlalchemy.orm import Session
from werkzeug.datastructures import MultiDict

from app.core import admission, job_lists, job_record, lines, retry_eligibility
from app.core.errors import Invalid
from app.core.job_lists import Wanted
from app.core.job_orders import Order, Sort
from app.core.lines import Place
from app.core.retry_eligibility import Eligibility
from app.core.status import shown
from app.core.users import Actor
from app.extensions import current_settings
from app.pages import paging

PAGE_SIZE = 50
_LONGEST = 2000

# What each kind holds, in our statuses, and in which order it stands.
KINDS: dict[str, tuple[str, ...]] = {
    "active": ("running",),
    "pending": ("pending", "retrying", "scheduled"),
    "completed": ("completed",),
    "failed": ("failed",),
}
_SORTS: dict[str, tuple[Sort, Order]] = {
    "active": ("started_at", "desc"),
    "completed": ("completed_at", "desc"),
    "failed": ("completed_at", "desc"),
}


@dataclass(frozen=True)
class Filters:
    """Which page of a list; `type` is one type's, or all. Pending jobs are paged by offset."""

    kind: str
    type: str = ""
    cursor: str = ""
    offset: int = 0

    @classmethod
    def read(cls, kind: str, args: MultiDict[str, str]) -> Filters:
        """From the address. Raises Invalid, naming what can't be read."""
        given = {name: args.get(name, "").replace("\0", "").strip() for name in ("type", "cursor")}
        for name, value in given.items():
            if len(value) > _LONGEST:
                raise Invalid(f"{name} is longer than {_LONGEST:,} characters.", param=name)
        return cls(kind, **given, offset=paging.offset(args, lines.MOST))

    def url(self, **changed: Any) -> str:
        """The address of the list with some of it changed."""
        asked = replace(self, **{"cursor": "", "offset": 0, **changed})
        return url_for(
            "platform_jobs.list_jobs",
            kind=asked.kind,
            type=asked.type or None,
            cursor=asked.cursor or None,
            offset=asked.offset or None,
        )

    @property
    def is_first(self) -> bool:
        return not self.cursor and not self.offset


@dataclass(frozen=True)
class Row:
    """A job of a list; `word` is our status, what is None does not apply to it."""

    job: Any
    word: str
    held: str | None = None
    place: Place | None = None
    duration_seconds: float | None = None
    remaining_seconds: float | None = None
    retry: Eligibility | None = None

    @property
    def mark(self) -> str:
        """What is worth a tint when it changes."""
        return f"{self.word} {self.job.progress}"

    @property
    def priority(self) -> str:
        """high, medium or low: above, at or below what jobs have by themselves."""
        return "high" if self.job.priority > 0 else "low" if self.job.priority < 0 else "medium"


@dataclass(frozen=True)
class Listed:
    """A page of a list; `total` is exact unless `total_is_exact` is false. `next_url` is the next page's."""

    rows: Sequence[Row]
    total: int
    total_is_exact: bool
    next_url: str | None


def find(session: Session, filters: Filters, actor: Actor) -> Listed:
    """A page of the reader's jobs. Raises Invalid (the cursor)."""
    asked = {
        "owner_name": actor.owner_name,
        "statuses": frozenset(KINDS[filters.kind]),
        "job_type": filters.type or None,
    }
    if filters.kind == "pending":
        counted = job_lists.list_jobs(session, Wanted(limit=1, columns=("id",)), **asked)  # type: ignore[arg-type]
        jobs = lines.list_waiting(
            session,
            owner_name=actor.owner_name,
            task=filters.type or None,
            limit=PAGE_SIZE + 1,
            offset=filters.offset,
        )
        following = filters.offset + PAGE_SIZE
        more = filters.url(offset=following) if len(jobs) > PAGE_SIZE else None
        rows = _waiting(session, jobs[:PAGE_SIZE])
        return Listed(rows, counted.total, counted.total_is_exact, more)
    sort, order = _SORTS[filters.kind]
    wanted = Wanted(sort, order, PAGE_SIZE, 0, filters.cursor or None)
    page = job_lists.list_jobs(session, wanted, **asked)  # type: ignore[arg-type]
    rows = _failed(session, page.jobs, actor) if filters.kind == "failed" else _timed(page.jobs)
    more = filters.url(cursor=page.next_cursor) if page.has_more else None
    return Listed(rows, page.total, page.total_is_exact, more)


def _waiting(session: Session, jobs: Sequence[Any]) -> list[Row]:
    now = datetime.now(UTC)
    held = admission.reasons(session, current_settings(), jobs)
    places = lines.places(session, jobs)
    return [
        Row(
            job,
            shown(job.status, job.scheduled_at, now),
            held=held.get(job.id),
            place=places.get(job.id),
        )
        for job in jobs
    ]


def _timed(jobs: Sequence[Any]) -> list[Row]:
    now = datetime.now(UTC)
    rows = []
    for job in jobs:
        timing = job_record.timing(job, now)
        rows.append(
            Row(
                job,
                job.status,
                duration_seconds=timing.duration_seconds,
                remaining_seconds=timing.estimated_remaining_seconds,
            )
        )
    return rows


def _failed(session: Session, jobs: Sequence[Any], actor: Actor) -> list[Row]:
    eligible = retry_eligibility.find(session, jobs, actor)
    return [replace(row, retry=eligible[row.job.id]) for row in _timed(jobs)]


def counts(queues: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """How many jobs each kind has, from the counts by queue."""
    return {
        kind: sum(counts[status] for counts in queues.values() for status in statuses)
        for kind, statuses in KINDS.items()
    }


def kind_of(word: str) -> str:
    """The list in which a job of a status stands; the active one for those that stand in none."""
    return next((kind for kind, statuses in KINDS.items() if word in statuses), "active")
