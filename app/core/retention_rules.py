"""What the retention removes, and when: one rule per table, in the order in which they are applied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, exists, func, or_, select, text

from app.core.models import (
    FINAL,
    IS_OPEN,
    Alert,
    AuditEntry,
    Batch,
    BrowserSession,
    BulkItem,
    File,
    IdempotencyKey,
    Incident,
    Job,
    JobDependency,
    QueueWorker,
    Request,
    Result,
    RetentionRun,
    ScheduleFiring,
    SignInLink,
    WebhookDelivery,
    Worker,
    WorkerSample,
)
from app.core.models.base import Base
from app.core.models.jobs import JOB_FINAL
from app.core.settings import Settings

Condition = Callable[[datetime], ColumnElement[bool]]

# How long the runs of the retention are remembered.
_RUN_DAYS = 365.0


def job_days(settings: Settings) -> dict[str, float]:
    """How long ended jobs are kept, by how they ended."""
    return {
        status: getattr(settings, f"{status}_days") or settings.job_days for status in JOB_FINAL
    }


@dataclass(frozen=True)
class Rule:
    """How long a table's rows stay; `parts` say which rows go where no more than that is to do.

    `job_result` is no table: it is what jobs returned, which may go before them.
    """

    table: str
    setting: str
    parts: tuple[tuple[type[Base], Condition], ...] = ()

    def days(self, settings: Settings) -> float:
        """How long the rows stay."""
        return float(getattr(settings, self.setting, _RUN_DAYS))

    def times(self, settings: Settings, now: datetime) -> dict[str, datetime]:
        """What ended before which moment goes: of jobs by their status, else one under ""."""
        days = job_days(settings) if self.table == "job" else {"": self.days(settings)}
        return {status: now - timedelta(days=each) for status, each in days.items()}


def _ended_at() -> ColumnElement[Any]:
    return func.coalesce(Batch.completed_at, Batch.failed_at, Batch.expired_at, Batch.cancelled_at)


def batch_is_over(before: datetime) -> ColumnElement[bool]:
    """Whether a batch ended before a moment."""
    return Batch.status.in_(FINAL) & (_ended_at() < before)


def _batch_is_empty(before: datetime) -> ColumnElement[bool]:
    """Its requests, results and files go first: the files' retention is another."""
    files = (Batch.input_file_id, Batch.output_file_id, Batch.error_file_id)
    return (
        batch_is_over(before)
        & ~exists().where(Request.batch_number == Batch.number)
        & ~exists().where(Result.batch_number == Batch.number)
        & ~exists().where(or_(*(File.id == file for file in files)))
    )


def file_is_over(now: datetime) -> ColumnElement[bool]:
    """Whether a file is past its own time and no open batch needs it."""
    needs = select(Batch.id).where(IS_OPEN, Batch.input_file_id == File.id)
    return (File.expires_at <= now) & ~needs.exists()


def _is_gone_from_the_queue(before: datetime) -> ColumnElement[bool]:
    return (QueueWorker.registered_at < before) & text(
        "NOT EXISTS (SELECT FROM procrastinate_workers AS w WHERE w.id = queue_worker.id)"
    )


def _is_of_no_job(before: datetime) -> ColumnElement[bool]:
    return (JobDependency.created_at < before) & ~exists().where(Job.id == JobDependency.job_id)


def _is_of_no_bulk_job(before: datetime) -> ColumnElement[bool]:
    return (BulkItem.at < before) & ~exists().where(Job.id == BulkItem.bulk_id)


RULES: dict[str, Rule] = {
    rule.table: rule
    for rule in (
        Rule("job", "job_days"),
        Rule("job_result", "result_days"),
        Rule("job_dependency", "job_days", ((JobDependency, _is_of_no_job),)),
        Rule("bulk_item", "job_days", ((BulkItem, _is_of_no_bulk_job),)),
        Rule("log_line", "log_days"),
        Rule("file", "file_days"),
        Rule("result", "file_days"),
        Rule("batch", "job_days", ((Batch, _batch_is_empty),)),
        Rule(
            "incident",
            "incident_days",
            ((Incident, lambda before: Incident.last_seen_at < before),),
        ),
        Rule(
            "schedule_firing",
            "firing_days",
            ((ScheduleFiring, lambda before: ScheduleFiring.decided_at < before),),
        ),
        Rule("alert", "alert_days", ((Alert, lambda before: Alert.resolved_at < before),)),
        Rule("audit_entry", "audit_days", ((AuditEntry, lambda before: AuditEntry.at < before),)),
        Rule(
            "idempotency_key",
            "idempotency_days",
            ((IdempotencyKey, lambda before: IdempotencyKey.created_at < before),),
        ),
        Rule(
            "webhook_delivery",
            "webhook_days",
            (
                (
                    WebhookDelivery,
                    lambda before: (
                        (WebhookDelivery.created_at < before)
                        & (WebhookDelivery.status != "pending")
                    ),
                ),
            ),
        ),
        Rule(
            "browser_session",
            "ended_session_days",
            (
                (
                    BrowserSession,
                    lambda before: or_(
                        BrowserSession.expires_at < before, BrowserSession.ended_at < before
                    ),
                ),
                (SignInLink, lambda before: SignInLink.expires_at < before),
            ),
        ),
        Rule(
            "worker",
            "worker_days",
            (
                (Worker, lambda before: Worker.stopped_at < before),
                (QueueWorker, _is_gone_from_the_queue),
            ),
        ),
        Rule(
            "worker_sample",
            "sample_days",
            ((WorkerSample, lambda before: WorkerSample.at < before),),
        ),
        Rule(
            "retention_run",
            "",
            ((RetentionRun, lambda before: RetentionRun.started_at < before),),
        ),
    )
}
