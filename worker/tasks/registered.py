"""Every task that our worker knows: importing this module registers them."""

from __future__ import annotations

from worker.tasks import batches, export
from worker.tasks.app import app

__all__ = ["app", "batches", "export"]
