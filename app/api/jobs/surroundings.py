"""/api/jobs/{job_id}/reasons and /beside: why a job does not run, and what ran while it did."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, g

from app.api.jobs.answers import Status
from app.api.openapi import Answer, Limit, Query, describe, read_query
from app.auth import needs
from app.core import hindrances, job_company, job_record
from app.core.job_company import Company
from app.core.status import API
from app.extensions import current_settings, db

blueprint = Blueprint("surroundings", __name__)


class Reason(Answer):
    """One reason, in words; `at` is when it ends by itself, `job_id` the job at fault."""

    kind: str
    sentence: str
    at: datetime | None
    job_id: str | None


class Reasons(Answer):
    """Why a job waits, or runs without a worker; none of any other. The first is to be mended first."""

    job_id: str
    status: Status
    reasons: list[Reason]


class BesideQuery(Query):
    """GET /api/jobs/{job_id}/beside."""

    limit: Limit(50, 500)  # type: ignore[valid-type]


class JobBeside(Answer):
    """A job with runs that shared time with the job's."""

    job_id: str
    job_type: str
    is_running: bool
    shared_seconds: float


class Beside(Answer):
    """What ran beside a job's latest attempt, most shared time first; `count` counts them all.

    `is_cut` says that only those that still run and the 20,000 runs that ended first after it began were
    looked at. A job that has not run has no attempt.
    """

    job_id: str
    attempt_number: int | None
    since: datetime | None
    until: datetime | None
    jobs: list[JobBeside]
    count: int
    is_cut: bool


@blueprint.get("/<job_id>/reasons")
@needs("read")
@describe(answer=Reasons)
def reasons(job_id: str) -> Reasons:
    """Why a job that waits is not running, whatever the reason."""
    session = db.session()
    job = job_record.get(session, job_id, g.actor.owner_name)
    found = hindrances.find(session, current_settings(), job, g.actor.owner_name)
    status: Any = API.say(job.status)
    return Reasons(
        job_id=str(job.id),
        status=status,
        reasons=[
            Reason(
                kind=each.kind,
                sentence=each.sentence,
                at=each.at,
                job_id=None if each.job_id is None else str(each.job_id),
            )
            for each in found
        ],
    )


@blueprint.get("/<job_id>/beside")
@needs("read")
@describe(query=BesideQuery, answer=Beside)
def beside(job_id: str) -> Beside:
    """Which other jobs ran while a job's latest attempt did."""
    asked = read_query(BesideQuery)
    session, owner_name = db.session(), g.actor.owner_name
    job = job_record.get(session, job_id, owner_name)
    latest = job_record.latest_attempt(session, job)
    company = Company()
    if latest is not None:
        company = job_company.find(session, latest, owner_name, limit=asked.limit)
    return Beside(
        job_id=str(job.id),
        attempt_number=latest.number if latest else None,
        since=latest.started_at if latest else None,
        until=(latest.ended_at or datetime.now(UTC)) if latest else None,
        jobs=[
            JobBeside(
                job_id=str(row.job_id),
                job_type=row.task,
                is_running=row.is_running,
                shared_seconds=row.seconds,
            )
            for row in company.rows
        ],
        count=company.jobs,
        is_cut=company.is_cut,
    )
