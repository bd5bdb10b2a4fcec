"""Stoker's own tables as SQLAlchemy 2 declarative models, one module per noun."""

from app.core.models.alerts import ALERT_KINDS, Alert, AlertRule
from app.core.models.base import Base
from app.core.models.batches import (
    BATCH_WORDS,
    FINAL,
    IS_OPEN,
    RUN_MS,
    STATUSES,
    Batch,
    Request,
    Result,
    Suspect,
)
from app.core.models.bulk import BulkItem
from app.core.models.defer import IdempotencyKey, JobDependency
from app.core.models.files import PURPOSES, File
from app.core.models.jobs import (
    JOB_FINAL,
    JOB_STATUSES,
    Attempt,
    Job,
    JobSearch,
    JobTransition,
    LogLine,
    QueueWorker,
    WaitingJob,
)
from app.core.models.queues import QueuePause
from app.core.models.record import (
    DIMENSIONS,
    INCIDENT_WORDS,
    RISK_LEVELS,
    SPANS,
    Adoption,
    DirtyHour,
    EndedJobs,
    Incident,
    Listener,
    RetentionRun,
    Rollup,
    RollupSpan,
)
from app.core.models.schedules import (
    MISSED_POLICIES,
    OVERLAP_POLICIES,
    Schedule,
    ScheduleFiring,
)
from app.core.models.users import ApiKey, AuditEntry, BrowserSession, SignInLink, User
from app.core.models.views import SavedView
from app.core.models.webhooks import (
    DELIVERY_STATUSES,
    WebhookDelivery,
    WebhookEndpoint,
    WebhookTry,
)
from app.core.models.workers import Worker, WorkerSample

__all__ = [
    "ALERT_KINDS",
    "BATCH_WORDS",
    "DELIVERY_STATUSES",
    "DIMENSIONS",
    "FINAL",
    "INCIDENT_WORDS",
    "IS_OPEN",
    "JOB_FINAL",
    "JOB_STATUSES",
    "MISSED_POLICIES",
    "OVERLAP_POLICIES",
    "PURPOSES",
    "RISK_LEVELS",
    "RUN_MS",
    "SPANS",
    "STATUSES",
    "Adoption",
    "Alert",
    "AlertRule",
    "ApiKey",
    "Attempt",
    "AuditEntry",
    "Base",
    "Batch",
    "BrowserSession",
    "BulkItem",
    "DirtyHour",
    "EndedJobs",
    "File",
    "IdempotencyKey",
    "Incident",
    "Job",
    "JobDependency",
    "JobSearch",
    "JobTransition",
    "Listener",
    "LogLine",
    "QueuePause",
    "QueueWorker",
    "Request",
    "Result",
    "RetentionRun",
    "Rollup",
    "RollupSpan",
    "SavedView",
    "Schedule",
    "ScheduleFiring",
    "SignInLink",
    "Suspect",
    "User",
    "WaitingJob",
    "WebhookDelivery",
    "WebhookEndpoint",
    "WebhookTry",
    "Worker",
    "WorkerSample",
]
