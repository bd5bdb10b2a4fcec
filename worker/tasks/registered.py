"""Every task that our worker knows: importing this module registers them."""

from __future__ import annotations

from worker.tasks import (
    backup,
    batch_audit,
    batches,
    bulk,
    cleanup,
    export,
    import_,
    re_evaluation,
)
from worker.tasks.app import app

__all__ = [
    "app",
    "backup",
    "batch_audit",
    "batches",
    "bulk",
    "cleanup",
    "export",
    "import_",
    "re_evaluation",
]
