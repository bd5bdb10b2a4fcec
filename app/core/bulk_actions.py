"""Actions on many jobs, as one finds them again: what was asked, by whom, and how far each came."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError
from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from app.core import bulk_items, job_bulk, job_lists, job_record
from app.core.bulk_items import Tally
from app.core.errors import NotFound
from app.core.job_lists import Wanted
from app.core.models import Job
from app.core.search_syntax import quoted
from app.core.tasks import Bulk, BulkFilter

_COLUMNS = (
    "id",
    "task",
    "status",
    "created_at",
    "ended_at",
    "owner_name",
    "progress",
    "items_done",
    "items_total",
    "result",
    "cancel_requested_at",
    "scheduled_at",
)
_PICKED = re.compile(r"id:\d+(?:,\d+)*")
_PLAIN = re.compile(r"[^\s\",]+")
# What a filter's fields are called in a search, and what they compare with.
_FIELDS = {
    "status": "status:",
    "job_type": "type:",
    "queue": "queue:",
    "user": "user:",
    "model": "model:",
    "worker": "worker:",
    "error_fingerprint": "fingerprint:",
    "created_after": "created:>=",
    "created_before": "created:<=",
    "started_after": "started:>=",
    "started_before": "started:<=",
    "completed_after": "completed:>=",
    "completed_before": "completed:<=",
    "min_duration": "duration:>=",
    "max_duration": "duration:<=",
}


@dataclass(frozen=True)
class BulkAction:
    """One of them: its job, and what it was to do; `asked` is None where that can't be read."""

    job: Any
    asked: Bulk | None
    done: int
    skipped: int

    @property
    def action(self) -> str:
        return self.asked.action if self.asked else self.job.task

    @property
    def total(self) -> int | None:
        """How many jobs matched; None before that is known."""
        total: int | None = self.job.items_total
        return total

    @property
    def picked(self) -> int:
        """How many jobs were picked one by one; 0: a filter chose them."""
        text = (self.asked.filter.q or "") if self.asked else ""
        return text.count(",") + 1 if _PICKED.fullmatch(text) else 0

    @property
    def search(self) -> str:
        """The search that finds what its filter finds; its `has_error` is not part of it."""
        return search_of(self.asked.filter) if self.asked else ""


def search_of(asked: BulkFilter) -> str:
    """A filter as the text of a search, to the second."""
    given = asked.model_dump(exclude_none=True, exclude={"q", "has_error"})
    parts = [f"{_FIELDS[name]}{_said(value)}" for name, value in given.items() if name in _FIELDS]
    return " ".join([*parts, asked.q or ""]).strip()


def _said(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M:%SZ}"
    if isinstance(value, float):
        return f"{value:g}" if value < 1e6 else f"{value:.0f}"
    text = str(value)
    if _PLAIN.fullmatch(text) or re.fullmatch(r"[\w,]+", text):
        return text
    return quoted(text)


def get(session: Session, job_id: str, owner_name: str | None) -> tuple[BulkAction, Tally]:
    """A user's (or, with None, anybody's) action, and what it came to. Raises NotFound."""
    job = job_record.get(session, job_id, owner_name)
    if job.task != job_bulk.TASK:
        raise NotFound(f"Job {job_id} is no bulk action.", param="job_id", code="not_found")
    return describe(session, job)


def describe(session: Session, job: Job) -> tuple[BulkAction, Tally]:
    """What the action of a bulk job is, and came to."""
    tally = bulk_items.tally(session, job.id)
    done, skipped = _told(job.result) or (tally.done, tally.skipped)
    return BulkAction(job, _read(job.arguments), done, skipped), tally


def list_actions(
    session: Session, owner_name: str | None, *, limit: int, cursor: str | None
) -> tuple[Sequence[BulkAction], str | None]:
    """A page of a user's or (None) of everybody's, the newest first, and the next page's cursor.

    Raises Invalid (the cursor).
    """
    wanted = Wanted(limit=limit, cursor=cursor, columns=_COLUMNS)
    page = job_lists.list_jobs(session, wanted, owner_name=owner_name, job_type=job_bulk.TASK)
    keys = [(job.created_at, job.id) for job in page.jobs]
    query = select(Job.id, Job.arguments).where(tuple_(Job.created_at, Job.id).in_(keys))
    arguments = {row.id: row.arguments for row in session.execute(query)} if keys else {}
    told = {job.id: said for job in page.jobs if (said := _told(job.result)) is not None}
    told |= bulk_items.counts(session, [job.id for job in page.jobs if job.id not in told])
    return [
        BulkAction(job, _read(arguments.get(job.id)), *told.get(job.id, (0, 0)))
        for job in page.jobs
    ], page.next_cursor


def _told(result: Any) -> tuple[int, int] | None:
    """What its result says: one that has completed is not counted again."""
    match result:
        case {"done": int(done), "skipped": int(skipped)}:
            return done, skipped
    return None


def _read(arguments: Any) -> Bulk | None:
    """Another app may have a task of the same name, with other arguments."""
    try:
        return Bulk.model_validate(arguments)
    except ValidationError:
        return None
