"""What the lists of jobs may be asked."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from app.api.openapi import Limit, Offset, Query
from app.core.job_orders import Order, Sort

_STATUS_WORDS = (
    "Statuses, separated by commas: pending, running (or processing), completed, failed, cancelled;"
    " scheduled and retrying are parts of pending."
)
# A `+` that was not escaped arrives as a space.
_UNESCAPED = re.compile(r"(:\d{2}(?:\.\d+)?) (\d{2}:?\d{2})$")


def _lowered(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _moment(value: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(_UNESCAPED.sub(r"\1+\2", str(value).strip()))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("must be a time such as 2026-11-01 or 2026-11-01T09:30:00Z") from None


Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Seconds = Annotated[float, Field(ge=0, le=10**9, allow_inf_nan=False)]
Level = Annotated[
    Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(_lowered)
]


class ListQuery(Query):
    """GET /api/jobs."""

    status: str | None = Field(None, description=_STATUS_WORDS)
    job_type: str | None = None
    queue: str | None = None
    limit: Limit(50, 1000)  # type: ignore[valid-type]
    offset: Offset = 0
    cursor: str | None = Field(None, description="The next_cursor of the page before.")
    sort: Sort = "created_at"
    order: Order = "desc"


class SearchQuery(ListQuery):
    """GET /api/jobs/search."""

    q: str | None = Field(
        None, description='Words and fields: `type:export status:failed error:"out of memory"`.'
    )
    user: str | None = None
    model: str | None = None
    worker: str | None = None
    created_after: Moment | None = None
    created_before: Moment | None = None
    started_after: Moment | None = None
    started_before: Moment | None = None
    completed_after: Moment | None = None
    completed_before: Moment | None = None
    has_error: bool | None = None
    min_duration: Seconds | None = Field(None, description="Of the run, in seconds.")
    max_duration: Seconds | None = Field(None, description="Of the run, in seconds.")


class LogQuery(Query):
    """GET /api/jobs/{job_id}/logs."""

    level: Level | None = Field(None, description="The least level.")
    since: Moment | None = Field(None, description="Only lines later than this.")
    attempt: int | None = Field(None, ge=1, le=2**31 - 1, description="Only lines of this attempt.")
    limit: Limit(1000, 10_000)  # type: ignore[valid-type]
