"""The audit trail: who did what to which object, in the action's own transaction."""

from __future__ import annotations

from sqlalchemy.orm import Session

from app.core.models import AuditEntry


def record(session: Session, actor: str, action: str, object_id: str, details: str = "") -> None:
    """Add an entry, like `record(session, "admin", "batch.cancel", "batch_…")`."""
    session.add(AuditEntry(actor=actor, action=action, object_id=object_id, details=details))
