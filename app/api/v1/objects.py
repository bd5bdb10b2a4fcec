"""Files and batches as the OpenAI API writes them: every field present, times in Unix seconds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from app.core.batches import is_final
from app.core.models import Batch, File
from app.core.queue import Place


def unix(moment: datetime | None) -> int | None:
    """Whole Unix seconds."""
    return None if moment is None else int(moment.timestamp())


def page(data: Sequence[dict[str, Any]], *, has_more: bool) -> dict[str, Any]:
    """A cursor page; clients send `last_id` as the next `after`."""
    return {
        "object": "list",
        "data": list(data),
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": has_more,
    }


def file_object(file: File) -> dict[str, Any]:
    """A FileObject."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": unix(file.created_at),
        "expires_at": unix(file.expires_at),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


def batch_object(
    batch: Batch, place: Place | None, waiting_reason: str | None = None
) -> dict[str, Any]:
    """A Batch with our extras; `place` is where it stands in the queue."""
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": batch.model,
        "errors": {"object": "list", "data": batch.errors} if batch.errors else None,
        "input_file_id": batch.input_file_id,
        "completion_window": batch.completion_window,
        "status": batch.status,
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        "created_at": unix(batch.created_at),
        "in_progress_at": unix(batch.in_progress_at),
        "expires_at": unix(batch.expires_at),
        "finalizing_at": unix(batch.finalizing_at),
        "completed_at": unix(batch.completed_at),
        "failed_at": unix(batch.failed_at),
        "expired_at": unix(batch.expired_at),
        "cancelling_at": unix(batch.cancelling_at),
        "cancelled_at": unix(batch.cancelled_at),
        "request_counts": {
            "total": batch.total,
            "completed": batch.completed,
            "failed": batch.failed,
        },
        "usage": {
            "input_tokens": batch.input_tokens,
            "input_tokens_details": {"cached_tokens": batch.cached_tokens},
            "output_tokens": batch.output_tokens,
            "output_tokens_details": {"reasoning_tokens": batch.reasoning_tokens},
            "total_tokens": batch.input_tokens + batch.output_tokens,
        },
        "metadata": batch.custom_metadata,
        "priority": batch.priority,
        **_estimates(batch, place),
        "waiting_reason": waiting_reason,
    }


def _estimates(batch: Batch, place: Place | None) -> dict[str, int | None]:
    if place is None or is_final(batch):
        return {
            "queue_position": None,
            "estimated_start_time": None,
            "estimated_completion_time": None,
        }
    now = time.time()
    starts_at: int | None = None
    if place.position == 0:
        starts_at = unix(batch.in_progress_at)
    elif place.starts_in_seconds is not None:
        starts_at = int(now + place.starts_in_seconds)
    ends_at: int | None = None
    if place.duration_seconds is not None:
        ends_at = int(now + (place.starts_in_seconds or 0.0) + place.duration_seconds)
    return {
        "queue_position": place.position,
        "estimated_start_time": starts_at,
        "estimated_completion_time": ends_at,
    }
