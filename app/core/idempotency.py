"""Keys by which the same request to defer a job, sent again, makes no second one.

They are a user's own, and are kept for `idempotency_days` (app.core.retention_rules). Batches keep
theirs in their own rows.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.core.errors import Conflict
from app.core.models import IdempotencyKey


def fingerprint(*words: Any) -> str:
    """Equal for two requests that ask for the same."""
    text = json.dumps(words, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def first_job(session: Session, owner_id: int, key: str, words: str) -> int | None:
    """The job that the first request with this key made; `words` are this one's fingerprint.

    A second request at the same time waits here for the first one's commit. Raises Conflict when the
    key was used for something else.
    """
    session.execute(
        select(func.pg_advisory_xact_lock(func.hashtextextended(f"defer {owner_id} {key}", 0)))
    )
    first = session.scalar(
        select(IdempotencyKey).where(IdempotencyKey.owner_id == owner_id, IdempotencyKey.key == key)
    )
    if first is None:
        return None
    if first.fingerprint != words:
        raise Conflict(
            "This idempotency key was used for something else.",
            param="idempotency_key",
            code="idempotency_key_reused",
        )
    return first.job_id


def remember(session: Session, owner_id: int, key: str, words: str, job_id: int) -> None:
    """Keep which job the key's first request made, in the transaction that made it."""
    session.add(IdempotencyKey(owner_id=owner_id, key=key, fingerprint=words, job_id=job_id))
