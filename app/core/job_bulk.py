"""One action on all jobs that a search finds: looked at first, or done by a job with progress."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from app.core import audit, job_search, jobs, search_conditions, tasks, waiting_jobs
from app.core.job_lists import ListedJob, Wanted
from app.core.models import Job, User
from app.core.search_conditions import Search
from app.core.status import ACTIONS
from app.core.tasks import Bulk, BulkFilter
from app.core.users import Actor, actor_of, authorize

TASK = "bulk"

_SAMPLE = 10


@dataclass(frozen=True)
class Preview:
    """What an action would be done to; `matching` is exact up to 10,000."""

    matching: int
    is_exact: bool
    sample: Sequence[ListedJob]


def preview(session: Session, action: str, asked: BulkFilter, actor: Actor) -> Preview:
    """Count the jobs that match and allow the action, and show the newest. Raises Invalid."""
    search = _search(action, asked, actor)
    page = job_search.find(session, search, Wanted(limit=_SAMPLE)).page
    return Preview(page.total, page.total_is_exact, page.jobs)


def start(session: Session, action: str, asked: BulkFilter, actor: Actor) -> int:
    """Defer the job that does it; the caller commits. Returns its id. Raises Invalid, Forbidden."""
    arguments = {"action": action, "filter": asked.model_dump(mode="json", exclude_none=True)}
    job_id = defer(session, arguments, actor)
    audit.record(session, actor.label, "job.bulk", str(job_id), action)
    return job_id


def defer(
    session: Session,
    arguments: Mapping[str, Any],
    actor: Actor,
    *,
    schedule_at: datetime | None = None,
) -> int:
    """The same, of a bulk job's arguments. It may do no more than who asks for it now."""
    authorize(actor, "submit")
    asked = tasks.read(Bulk, TASK, {**arguments, "scopes": sorted(actor.scopes)})
    _search(asked.action, asked.filter, actor)  # what it can't understand is refused here
    return jobs.defer(
        session,
        TASK,
        asked.model_dump(mode="json", exclude_none=True),
        queue=tasks.QUEUE,
        schedule_at=schedule_at,
        horizon_seconds=waiting_jobs.HORIZON_SECONDS,
        owner_name=actor.name,
    )


def actor_for(owner: User, asked: Bulk) -> Actor:
    """Who acts in a bulk job: its user, with no more scopes than asked for it."""
    whole = actor_of(owner)
    return Actor(whole.user_id, whole.name, whole.scopes & set(asked.scopes))


def find_jobs(
    session: Session, asked: Bulk, actor: Actor, before: datetime
) -> list[tuple[int, str]]:
    """The ids and tasks of all that match, the oldest first, of those that were made before a time."""
    search = _search(asked.action, asked.filter, actor).where(Job.created_at < before)
    matching = job_search.everything(search)
    found = session.execute(matching.select(Job.id, Job.task).order_by(Job.created_at, Job.id))
    return [(job.id, job.task) for job in found]


def _search(action: str, asked: BulkFilter, actor: Actor) -> Search:
    return search_conditions.read_filter(asked, actor.owner_name).of(allowing(action))


def allowing(action: str) -> frozenset[str]:
    """The statuses in which it may be done to many: what waits or runs is not deleted by the way."""
    allowed = {status for status, actions in ACTIONS.items() if action in actions}
    if action == "delete":
        allowed -= {status for status in allowed if "cancel" in ACTIONS[status]}
    return frozenset(allowed)
