"""What /api/jobs answers, field by field."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from app.api.openapi import Answer

Status = Literal["pending", "running", "completed", "failed", "cancelled"]


class Job(Answer):
    """A job."""

    job_id: str
    job_type: str
    status: Status
    progress: int
    message: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    result: Any
    error: str | None


class Pagination(Answer):
    """Where a page stands in its list; `total` is 10000 when there are more, unless it is exact."""

    total: int
    limit: int
    offset: int
    cursor: str | None
    next_cursor: str | None
    has_more: bool
    total_is_exact: bool


class JobList(Answer):
    """A page of jobs."""

    items: list[Job]
    pagination: Pagination


class JobType(Answer):
    """What a job can be; the label is what people call it."""

    name: str
    label: str
    description: str


class JobTypes(Answer):
    """Every type of job."""

    job_types: list[JobType]


class SearchMeta(Answer):
    """Where a page of a search stands."""

    total: int
    limit: int
    offset: int
    next_cursor: str | None
    has_more: bool
    total_is_exact: bool


class Aggregations(Answer):
    """How what was found is made up: of 10,000 jobs at most."""

    by_status: dict[str, int]
    by_type: dict[str, int]
    by_queue: dict[str, int]


class SearchResult(Answer):
    """A page of what a search found."""

    data: list[Job]
    meta: SearchMeta
    aggregations: Aggregations


class Progress(Answer):
    """How far a job is."""

    percent: int
    current_step: str | None
    items_processed: int | None
    items_total: int | None


class Timing(Answer):
    """When, and for how long."""

    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    duration_seconds: float | None
    estimated_remaining_seconds: float | None


class RetryInfo(Answer):
    """Its attempts."""

    attempt_number: int
    max_attempts: int | None
    next_retry_at: datetime | None
    previous_errors: list[str]
    retried_from: str | None


class Cancellation(Answer):
    """That a job was to stop: when it was requested, heard of by its worker, and done."""

    kind: Literal["cancel", "abort"]
    requested_at: datetime
    acknowledged_at: datetime | None
    stopped_at: datetime | None


class Metadata(Answer):
    """What it was asked, and who runs it."""

    input_params: dict[str, Any]
    worker_id: str | None


class JobDetail(Answer):
    """Everything about where a job stands."""

    id: str
    job_type: str
    status: Status
    queue_name: str
    priority: int
    progress: Progress
    timing: Timing
    retry_info: RetryInfo
    cancellation: Cancellation | None
    result: Any
    error: str | None
    metadata: Metadata


class Transition(Answer):
    """A change of status; the first one, from nothing, is the job's creation."""

    from_: Status | None = Field(serialization_alias="from")
    to: Status
    at: datetime
    triggered_by: str | None
    details: str | None


class Milestone(Answer):
    """An attempt said something else of its progress."""

    at: datetime
    message: str | None
    percent: int | None
    items_processed: int | None


class JobAttempt(Answer):
    """One try. Its milestones are each change of its message and percentage, at most a hundred."""

    attempt_number: int
    started_at: datetime
    ended_at: datetime | None
    status: Literal["running", "completed", "failed", "cancelled", "lost", "moved", "deleted"]
    error: str | None
    worker_id: str | None
    duration_seconds: float | None
    result: Any
    milestones: list[Milestone]


class JobHistory(Answer):
    """What became of a job, from its creation on."""

    job_id: str
    job_type: str
    status: Status
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    transitions: list[Transition]
    attempts: list[JobAttempt]


class Acted(Answer):
    """What an action came to."""

    job_id: str
    status: Status
    message: str


class Aborted(Acted):
    """The same; the warning says what the abort may leave."""

    warning: str | None


class Deleted(Answer):
    """What a deletion came to: of a job that had not ended, a cancel or an abort."""

    job_id: str
    status: Literal["pending", "running", "completed", "failed", "cancelled", "deleted"]
    message: str
    warning: str | None


class Retried(Answer):
    """The new job, and which it retries."""

    job_id: str
    retried_from: str


class JobError(Answer):
    """Why nothing was done to a job."""

    job_id: str
    error: str


class BulkCancelled(Answer):
    """How many were cancelled or asked to stop, and why the others were not."""

    cancelled: int
    failed: int
    errors: list[JobError]


class BulkPreview(Answer):
    """What an action would be done to: `matching` is 10000 when there are more, unless exact."""

    matching: int
    matching_is_exact: bool
    sample: list[Job]


class BulkStarted(Answer):
    """The job that does it; its status, progress and result are those of any job."""

    job_id: str
    status: Literal["pending"]
    progress: int
    message: str


class DependencyNode(Answer):
    """A job that is connected with the one that was asked for, or that itself."""

    job_id: str
    job_type: str
    status: Status


class DependencyEdge(Answer):
    """The job `from` has to complete before the job `to` may run."""

    from_: str = Field(serialization_alias="from")
    to: str


class Dependencies(Answer):
    """The graph around a job; `has_more` when it has more than 200 jobs."""

    nodes: list[DependencyNode]
    edges: list[DependencyEdge]
    has_more: bool


class LogEntry(Answer):
    """A log line."""

    timestamp: datetime
    level: str
    message: str
    context: dict[str, Any] | None
    attempt_number: int | None


class JobLogs(Answer):
    """Some of a job's log lines, oldest first."""

    job_id: str
    logs: list[LogEntry]
    total: int
    has_more: bool
