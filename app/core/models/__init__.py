"""Stoker's own tables as SQLAlchemy 2 declarative models, one module per noun."""

from app.core.models.base import Base
from app.core.models.batches import FINAL, IS_OPEN, STATUSES, Batch, Request, Result, Suspect
from app.core.models.files import PURPOSES, File
from app.core.models.jobs import Attempt, LogLine, Worker
from app.core.models.users import ApiKey, AuditEntry, BrowserSession, SignInLink, User
from app.core.models.webhooks import DELIVERY_STATUSES, WebhookDelivery

__all__ = [
    "DELIVERY_STATUSES",
    "FINAL",
    "IS_OPEN",
    "PURPOSES",
    "STATUSES",
    "ApiKey",
    "Attempt",
    "AuditEntry",
    "Base",
    "Batch",
    "BrowserSession",
    "File",
    "LogLine",
    "Request",
    "Result",
    "SignInLink",
    "Suspect",
    "User",
    "WebhookDelivery",
    "Worker",
]
