"""The history of batches, as its users have known it: one line for each, filtered, in pages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from app.core.batch_status import history_status, history_status_filter
from app.core.models import Batch

# Counting stops here: an exact count of a large history costs more than the page itself.
COUNT_LIMIT = 10_000


@dataclass(frozen=True)
class HistoryJob:
    """One batch in the words of GET /v1/jobs/history. Times are datetimes, durations seconds."""

    batch_id: str
    status: str
    native_status: str
    model: str | None
    created_at: datetime
    completed_at: datetime | None
    failed_at: datetime | None
    cancelled_at: datetime | None
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


@dataclass(frozen=True)
class HistoryPage:
    """Some of the jobs that match; `total` is exact up to COUNT_LIMIT."""

    jobs: list[HistoryJob]
    total: int
    limit: int
    offset: int
    has_more: bool

    @property
    def total_is_exact(self) -> bool:
        return self.total < COUNT_LIMIT


def list_jobs(
    session: Session,
    *,
    owner_id: int | None,
    status: str | None = None,
    model: str | None = None,
    start_date: datetime | None = None,
    end_date: datetime | None = None,
    limit: int = 50,
    offset: int = 0,
    now: datetime | None = None,
) -> HistoryPage:
    """A page of jobs, newest first. `status` speaks the history's dialect.

    With `now`, a running job has the duration and the throughput that it has had until then.
    """
    query = _filtered(owner_id, status, model, start_date, end_date)
    newest = query.order_by(Batch.created_at.desc(), Batch.number.desc())
    found = list(session.scalars(newest.limit(limit + 1).offset(offset)))
    capped = query.with_only_columns(Batch.number).limit(COUNT_LIMIT).subquery()
    total = session.scalar(select(func.count()).select_from(capped)) or 0
    return HistoryPage(
        jobs=[describe(batch, now) for batch in found[:limit]],
        total=total,
        limit=limit,
        offset=offset,
        has_more=len(found) > limit,
    )


def _filtered(
    owner_id: int | None,
    status: str | None,
    model: str | None,
    start_date: datetime | None,
    end_date: datetime | None,
) -> Select[Batch]:
    query = select(Batch)
    if owner_id is not None:
        query = query.where(Batch.owner_id == owner_id)
    if status is not None:
        query = query.where(history_status_filter(status))
    if model is not None:
        query = query.where(Batch.model == model)
    if start_date is not None:
        query = query.where(Batch.created_at >= start_date)
    if end_date is not None:
        query = query.where(Batch.created_at <= end_date)
    return query


def describe(batch: Batch, now: datetime | None = None) -> HistoryJob:
    """A batch in the history's words."""
    seconds = run_seconds(batch, now)
    done = batch.completed + batch.failed
    tokens = batch.input_tokens + batch.output_tokens
    return HistoryJob(
        batch_id=batch.id,
        status=history_status(batch),
        native_status=native_status(batch),
        model=batch.model,
        created_at=batch.created_at,
        completed_at=batch.completed_at,
        failed_at=batch.failed_at or batch.expired_at,
        cancelled_at=batch.cancelled_at,
        total_requests=batch.total,
        completed_requests=batch.completed,
        failed_requests=batch.failed,
        duration=seconds,
        throughput=_rate(done, seconds),
        priority=batch.priority,
        webhook_url=batch.webhook is not None,
        has_errors=bool(batch.errors) or batch.failed > 0,
        request_throughput=_rate(done, seconds),
        total_tokens=tokens,
        token_throughput=_rate(tokens, seconds),
    )


def ended_at(batch: Batch) -> datetime | None:
    """When the batch became final."""
    return batch.completed_at or batch.failed_at or batch.expired_at or batch.cancelled_at


def run_seconds(batch: Batch, now: datetime | None = None) -> float | None:
    """Run time: from the first request's start to the end (or `now`); waiting does not count."""
    end = ended_at(batch) or now
    if batch.in_progress_at is None or end is None:
        return None
    return round(max((end - batch.in_progress_at).total_seconds(), 0.0), 3)


def _rate(amount: int, seconds: float | None) -> float | None:
    return round(amount / seconds, 3) if seconds else None


def native_status(batch: Batch) -> str:
    """The batch's own status; `queued` for one that waits for its turn in the engine."""
    if batch.status == "in_progress" and batch.in_progress_at is None:
        return "queued"
    return batch.status


def list_models(session: Session, owner_id: int | None) -> list[str]:
    """The models that the history knows, by a walk over the index instead of over all rows."""
    models: list[str] = []
    last = ""
    while True:
        query = select(func.min(Batch.model)).where(Batch.model > last)
        if owner_id is not None:
            query = query.where(Batch.owner_id == owner_id)
        found: Any = session.scalar(query)
        if found is None or len(models) >= 200:
            return models
        models.append(found)
        last = found
