"""What /v1 answers, field by field: OpenAI's objects and our own."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from app.api.openapi import Answer


class File(Answer):
    """An uploaded or a result file."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str
    status: str
    status_details: str | None


class FileList(Answer):
    """A page of files."""

    object: Literal["list"]
    data: list[File]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Deleted(Answer):
    """What was removed."""

    id: str
    object: str
    deleted: bool


class BatchError(Answer):
    """Why a batch's file was refused."""

    code: str | None = None
    line: int | None = None
    message: str | None = None
    param: str | None = None


class BatchErrors(Answer):
    """The first hundred of them."""

    object: Literal["list"]
    data: list[BatchError]


class RequestCounts(Answer):
    """A batch's requests."""

    total: int
    completed: int
    failed: int


class InputTokens(Answer):
    """Of the input tokens, those that the engine had in its cache."""

    cached_tokens: int


class OutputTokens(Answer):
    """Of the output tokens, those of reasoning."""

    reasoning_tokens: int


class Usage(Answer):
    """A batch's tokens."""

    input_tokens: int
    input_tokens_details: InputTokens
    output_tokens: int
    output_tokens_details: OutputTokens
    total_tokens: int


class Batch(Answer):
    """A batch: every field of the SDK's type and our extras."""

    id: str
    object: Literal["batch"]
    endpoint: str
    model: str | None
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str
    status: str
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    usage: Usage
    metadata: dict[str, str] | None
    priority: int
    queue_position: int | None
    estimated_start_time: int | None
    estimated_completion_time: int | None
    # Why it waits although its turn has come.
    waiting_reason: str | None


class BatchList(Answer):
    """A page of batches."""

    object: Literal["list"]
    data: list[Batch]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FailedRequest(Answer):
    """One request of a batch that failed, and why."""

    id: str
    batch_id: str
    custom_id: str
    request_index: int
    error_message: str | None
    error_type: str | None
    retry_count: int
    last_retry_at: int | None
    created_at: int | None


class FailedRequests(Answer):
    """A page of them."""

    batch_id: str
    failed_count: int
    failed_requests: list[FailedRequest]
    has_more: bool


class Logs(Answer):
    """Log lines as text."""

    logs: str


class Model(Answer):
    """A model that is served here."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    endpoints: list[str]


class ModelList(Answer):
    """All of them."""

    object: Literal["list"]
    data: list[Model]


class QueueWorker(Answer):
    """The worker that was heard last."""

    status: str
    current_model: str | None
    last_seen: int | None
    age_seconds: float | None


class Progress(Answer):
    """How far a batch is."""

    completed_requests: int
    total_requests: int
    progress_percent: float
    tokens_processed: int
    tokens_total: int
    tokens_remaining: int


class Throughput(Answer):
    """Tokens per second, now and over the run."""

    current_tokens_per_sec: float
    average_tokens_per_sec: float


class Timing(Answer):
    """When a batch began and will end."""

    started_at: int | None
    last_update: int | None
    estimated_completion: int
    eta_seconds: float
    eta_minutes: float


class CurrentJob(Answer):
    """The batch that runs."""

    batch_id: str
    model: str | None
    status: str
    progress: Progress
    throughput: Throughput
    timing: Timing


class QueueEntry(Answer):
    """A batch that waits."""

    position: int
    batch_id: str
    model: str | None
    status: str
    total_requests: int
    total_tokens: int
    created_at: int
    estimated_duration_seconds: float
    estimated_duration_minutes: float
    starts_in_seconds: float
    starts_in_minutes: float
    # Why it waits although its turn has come.
    waiting_reason: str | None


class Queue(Answer):
    """What runs and what waits."""

    worker: QueueWorker
    current_job: CurrentJob | None
    queue: list[QueueEntry]
    queue_length: int


class HistoryJob(Answer):
    """A batch as the history lists it."""

    batch_id: str
    status: str
    model: str | None
    created_at: int
    completed_at: int | None
    failed_at: int | None
    cancelled_at: int | None
    total_requests: int
    completed_requests: int
    failed_requests: int
    duration: float | None
    throughput: float | None
    priority: int
    webhook_url: bool
    has_errors: bool
    request_throughput: float | None
    total_tokens: int
    token_throughput: float | None


class History(Answer):
    """A page of the history."""

    jobs: list[HistoryJob]
    total: int
    limit: int
    offset: int
    has_more: bool


class TimelinePoint(Answer):
    """The batches made in one step of the range."""

    timestamp: int
    jobs: int


class Stats(Answer):
    """Totals and rates of the batches in a range."""

    total_jobs: int
    by_status: dict[str, int]
    by_model: dict[str, int]
    success_rate: float | None
    avg_duration: float | None
    total_requests: int
    completed_requests: int
    failed_requests: int
    total_tokens: int
    avg_token_throughput: float | None
    timeline: list[TimelinePoint]


class FileForm(Answer):
    """The form of an upload."""

    model_config = ConfigDict(extra="allow")

    file: bytes = Field(json_schema_extra={"format": "binary"})
    purpose: str
    expires_after: dict[str, Any] | None = None
