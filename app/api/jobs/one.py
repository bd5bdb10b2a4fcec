"""/api/jobs/{job_id}: where one job stands, what became of it, and what it logged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, g

from app.api.jobs import answers
from app.api.jobs.listing import job_answers
from app.api.jobs.queries import LogQuery
from app.api.openapi import describe, read_query
from app.auth import needs
from app.core import admission, dependencies, job_record, milestones
from app.core import logs as log_lines
from app.core.models import Attempt, Job, JobTransition
from app.core.status import API
from app.extensions import current_settings, db

blueprint = Blueprint("one", __name__)


@blueprint.get("/<job_id>")
@needs("read")
@describe(answer=answers.Job)
def get(job_id: str) -> answers.Job:
    """A job."""
    return job_answers([job_record.get(db.session(), job_id, g.actor.owner_name)])[0]


@blueprint.get("/<job_id>/detail")
@needs("read")
@describe(answer=answers.JobDetail)
def detail(job_id: str) -> answers.JobDetail:
    """A job's progress, times, attempts and input."""
    session = db.session()
    job = job_record.get(session, job_id, g.actor.owner_name)
    attempts = job_record.list_attempts(session, job)
    timing = job_record.timing(job, datetime.now(UTC))
    worker = job_record.worker_of(attempts[-1]) if attempts else None
    reasons = admission.reasons(session, current_settings(), [job])
    return answers.JobDetail(
        id=str(job.id),
        job_type=job.task,
        status=_said(job.status),
        queue_name=job.queue,
        priority=job.priority,
        progress=answers.Progress(
            percent=job.progress,
            current_step=reasons.get(job.id) or job.message,
            items_processed=job.items_done,
            items_total=job.items_total,
        ),
        timing=answers.Timing(
            created_at=job.created_at,
            started_at=job.started_at,
            completed_at=job.ended_at,
            duration_seconds=timing.duration_seconds,
            estimated_remaining_seconds=timing.estimated_remaining_seconds,
        ),
        retry_info=answers.RetryInfo(
            attempt_number=job.attempts,
            max_attempts=job.max_attempts,
            next_retry_at=job_record.next_retry_at(job),
            previous_errors=job_record.previous_errors(job, attempts),
            retried_from=None if job.retried_from is None else str(job.retried_from),
        ),
        cancellation=_cancellation(job),
        result=job.result,
        error=job.error_message,
        metadata=answers.Metadata(input_params=job.arguments, worker_id=job.worker_name or worker),
    )


@blueprint.get("/<job_id>/history")
@needs("read")
@describe(answer=answers.JobHistory)
def history(job_id: str) -> answers.JobHistory:
    """A job's changes of status and its attempts."""
    session = db.session()
    job = job_record.get(session, job_id, g.actor.owner_name)
    transitions = job_record.list_transitions(session, job)
    return answers.JobHistory(
        job_id=str(job.id),
        job_type=job.task,
        status=_said(job.status),
        created_at=job.created_at,
        started_at=job.started_at,
        completed_at=job.ended_at,
        transitions=list(_transitions(job, transitions)),
        attempts=[_attempt(attempt) for attempt in job_record.list_attempts(session, job)],
    )


@blueprint.get("/<job_id>/dependencies")
@needs("read")
@describe(answer=answers.Dependencies)
def graph(job_id: str) -> answers.Dependencies:
    """The jobs on which a job depends, and those that depend on it."""
    session = db.session()
    job = job_record.get(session, job_id, g.actor.owner_name)
    found = dependencies.graph(session, job, g.actor.owner_name)
    return answers.Dependencies(
        nodes=[
            answers.DependencyNode(
                job_id=str(node.id), job_type=node.task, status=_said(node.status)
            )
            for node in found.nodes
        ],
        edges=[
            answers.DependencyEdge(from_=str(edge.needs_id), to=str(edge.job_id))
            for edge in found.edges
        ],
        has_more=found.has_more,
    )


@blueprint.get("/<job_id>/logs")
@needs("read")
@describe(query=LogQuery, answer=answers.JobLogs)
def logs(job_id: str) -> answers.JobLogs:
    """A job's log lines, oldest first."""
    asked = read_query(LogQuery)
    session = db.session()
    job = job_record.get(session, job_id, g.actor.owner_name)
    page = log_lines.list_lines(
        session,
        job,
        level=asked.level,
        since=asked.since,
        limit=asked.limit,
        attempt=asked.attempt,
    )
    numbers = log_lines.attempts_of(session, job, page.lines)
    return answers.JobLogs(
        job_id=str(job.id),
        logs=[
            answers.LogEntry(
                timestamp=line.at,
                level=line.level,
                message=line.message,
                context=line.context,
                attempt_number=number,
            )
            for line, number in zip(page.lines, numbers, strict=True)
        ],
        total=page.total,
        has_more=page.has_more,
    )


def _cancellation(job: Job) -> answers.Cancellation | None:
    if job.cancel_requested_at is None:
        return None
    return answers.Cancellation(
        kind="cancel" if job.abort_requested_at is None else "abort",
        requested_at=job.cancel_requested_at,
        acknowledged_at=job.cancel_acknowledged_at,
        stopped_at=job.ended_at,
    )


def _said(status: str) -> Any:
    return API.say(status)


def _transitions(job: Job, rows: Sequence[JobTransition]) -> Iterator[answers.Transition]:
    yield answers.Transition(
        from_=None,
        to=_said(rows[0].from_status if rows else job.status),
        at=job.created_at,
        triggered_by=job.created_by,
        details=None,
    )
    for row in rows:
        yield answers.Transition(
            from_=_said(row.from_status),
            to=_said(row.to_status),
            at=row.at,
            triggered_by=row.triggered_by,
            details=row.details,
        )


def _attempt(attempt: Attempt) -> answers.JobAttempt:
    seconds = None
    if attempt.ended_at is not None:
        seconds = round((attempt.ended_at - attempt.started_at).total_seconds(), 3)
    status: Any = attempt.outcome or "running"
    return answers.JobAttempt(
        attempt_number=attempt.number,
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
        status=status,
        error=job_record.error_of(attempt),
        worker_id=job_record.worker_of(attempt),
        duration_seconds=seconds,
        result=attempt.result,
        milestones=[
            answers.Milestone(
                at=each.at,
                message=each.message,
                percent=each.percent,
                items_processed=each.done,
            )
            for each in milestones.read(attempt)
        ],
    )
