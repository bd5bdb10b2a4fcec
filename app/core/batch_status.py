"""The job history's words for a batch's status; the SQL view `batch_jobs` says the same."""

from __future__ import annotations

from sqlalchemy import ColumnElement, and_, case, or_

from app.core.errors import Invalid
from app.core.models import Batch

HISTORY_STATUSES = ("queued", "in_progress", "completed", "failed", "cancelled")


def history_status(batch: Batch) -> str:
    """One of HISTORY_STATUSES."""
    match batch.status:
        case "validating":
            return "queued"
        case "in_progress":
            return "queued" if batch.in_progress_at is None else "in_progress"
        case "finalizing" | "cancelling":
            return "in_progress"
        case "expired":
            return "failed"
        case final:
            return final


def history_status_filter(word: str) -> ColumnElement[bool]:
    """The batches whose `history_status` is `word`, as a condition that the indexes serve.

    Raises Invalid when `word` is none of HISTORY_STATUSES.
    """
    match word:
        case "queued":
            waits = and_(Batch.status == "in_progress", Batch.in_progress_at.is_(None))
            return or_(Batch.status == "validating", waits)
        case "in_progress":
            runs = and_(Batch.status == "in_progress", Batch.in_progress_at.is_not(None))
            return or_(Batch.status.in_(("finalizing", "cancelling")), runs)
        case "failed":
            return Batch.status.in_(("failed", "expired"))
        case "completed" | "cancelled":
            return Batch.status == word
    raise Invalid(
        f"'{word}' is no status of the job history: use one of {', '.join(HISTORY_STATUSES)}.",
        param="status",
    )


def history_status_column() -> ColumnElement[str]:
    """`history_status` as an expression, to select or group by."""
    return case(
        *((history_status_filter(word), word) for word in HISTORY_STATUSES if word != "cancelled"),
        else_="cancelled",
    )
