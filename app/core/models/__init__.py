"""Stoker's own tables as SQLAlchemy 2 declarative models, one module per noun."""

from app.core.models.base import Base
from app.core.models.batches import FINAL, STATUSES, Batch, Request, Result, Suspect
from app.core.models.files import PURPOSES, File
from app.core.models.jobs import Attempt, LogLine, Worker
from app.core.models.users import ApiKey, AuditEntry, BrowserSession, SignInLink, User

__all__ = [
    "FINAL",
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
    "Worker",
]
