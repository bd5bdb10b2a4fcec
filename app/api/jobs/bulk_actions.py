"""/api/jobs/bulk-actions: the actions on many jobs of late, and what one of them did to each job."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from flask import Blueprint, g
from pydantic import Field

from app.api.jobs.answers import Status
from app.api.openapi import Answer, Limit, Query, describe, read_query
from app.auth import needs
from app.core import bulk_actions, bulk_items
from app.core.bulk_actions import BulkAction
from app.core.bulk_items import DONE, SKIPPED
from app.core.status import API
from app.extensions import db

blueprint = Blueprint("bulk_actions", __name__, url_prefix="/bulk-actions")


class BulkActionSummary(Answer):
    """What was to be done to which jobs, by whom, and how far it came."""

    job_id: str = Field(description="The job that does it.")
    action: Literal["cancel", "abort", "retry", "delete"] | None = Field(
        description="Null where the job's arguments can't be read."
    )
    filter: dict[str, Any] | None = Field(description="As POST /api/jobs/bulk was given it.")
    status: Status
    progress: int
    owner: str | None
    created_at: datetime
    completed_at: datetime | None
    cancel_requested_at: datetime | None
    matching: int | None = Field(description="How many jobs matched; null before that is known.")
    done: int
    skipped: int


class BulkActionList(Answer):
    """A page of bulk actions, newest first."""

    bulk_actions: list[BulkActionSummary]
    limit: int
    next_cursor: str | None
    has_more: bool


class SkipReason(Answer):
    """Why jobs were skipped, without what names one of them, and how many."""

    kind: str
    jobs: int


class BulkActionDetail(BulkActionSummary):
    """The same with the reasons for skipping, the most frequent first."""

    reasons: list[SkipReason]


class BulkActionJob(Answer):
    """What was done to one job, or why it was skipped; `found_id` is the new job of a retry."""

    job_id: str
    job_type: str
    outcome: Literal["done", "skipped"]
    reason: str | None
    found_id: str | None
    at: datetime


class BulkActionJobs(Answer):
    """Some of an action's jobs, by reason and number."""

    job_id: str
    jobs: list[BulkActionJob]
    limit: int
    next_cursor: str | None
    has_more: bool


class BulkActionsQuery(Query):
    """GET /api/jobs/bulk-actions."""

    limit: Limit(50, 500)  # type: ignore[valid-type]
    cursor: str | None = Field(None, description="The next_cursor of the page before.")


class BulkActionJobsQuery(BulkActionsQuery):
    """GET /api/jobs/bulk-actions/{job_id}/jobs."""

    outcome: Literal["done", "skipped"] = SKIPPED
    kind: Annotated[str, Field(max_length=300)] | None = Field(
        None, description="Only those that were skipped for a reason of this kind."
    )


@blueprint.get("")
@needs("read")
@describe(query=BulkActionsQuery, answer=BulkActionList)
def index() -> BulkActionList:
    """Who did what to how many jobs, and when: the newest first."""
    asked = read_query(BulkActionsQuery)
    found, next_cursor = bulk_actions.list_actions(
        db.session(), g.actor.owner_name, limit=asked.limit, cursor=asked.cursor
    )
    return BulkActionList(
        bulk_actions=[BulkActionSummary(**_said(each)) for each in found],
        limit=asked.limit,
        next_cursor=next_cursor,
        has_more=next_cursor is not None,
    )


@blueprint.get("/<job_id>")
@needs("read")
@describe(answer=BulkActionDetail)
def show(job_id: str) -> BulkActionDetail:
    """One of them, and why it skipped what."""
    action, tally = bulk_actions.get(db.session(), job_id, g.actor.owner_name)
    reasons = [SkipReason(kind=kind, jobs=jobs) for kind, jobs in tally.kinds]
    return BulkActionDetail(**_said(action), reasons=reasons)


@blueprint.get("/<job_id>/jobs")
@needs("read")
@describe(query=BulkActionJobsQuery, answer=BulkActionJobs)
def list_jobs(job_id: str) -> BulkActionJobs:
    """The jobs that it skipped, and why, or those to which it was done."""
    asked = read_query(BulkActionJobsQuery)
    session = db.session()
    action, _ = bulk_actions.get(session, job_id, g.actor.owner_name)
    items, next_cursor = bulk_items.page(
        session,
        action.job.id,
        bulk_items.Wanted(asked.outcome, asked.kind),
        limit=asked.limit,
        cursor=asked.cursor,
    )
    return BulkActionJobs(
        job_id=str(action.job.id),
        jobs=[
            BulkActionJob(
                job_id=str(item.job_id),
                job_type=item.task,
                outcome=DONE if item.kind is None else SKIPPED,
                reason=item.reason,
                found_id=None if item.found_id is None else str(item.found_id),
                at=item.at,
            )
            for item in items
        ],
        limit=asked.limit,
        next_cursor=next_cursor,
        has_more=next_cursor is not None,
    )


def _said(found: BulkAction) -> dict[str, Any]:
    job, asked = found.job, found.asked
    return {
        "job_id": str(job.id),
        "action": asked.action if asked else None,
        "filter": asked.filter.model_dump(mode="json", exclude_none=True) if asked else None,
        "status": API.say(job.status),
        "progress": job.progress,
        "owner": job.owner_name,
        "created_at": job.created_at,
        "completed_at": job.ended_at,
        "cancel_requested_at": job.cancel_requested_at,
        "matching": found.total,
        "done": found.done,
        "skipped": found.skipped,
    }
