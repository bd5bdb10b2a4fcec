"""What /v1's lists may be asked: pages, filters and ranges."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from app.api.openapi import Limit, Offset, Query
from app.core.models import PURPOSES

_LAST_MOMENT = 253_402_300_799  # of the year 9999

MOST_FAILED = 10_000
MOST_FILES = 10_000


def _moment(value: Any) -> datetime:
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = -1.0
    # Nothing was made before the first one, and the calendar ends with the last.
    if not 0 <= seconds <= _LAST_MOMENT:
        raise ValueError("must be a time in Unix seconds")
    return datetime.fromtimestamp(seconds, UTC)


UnixTime = Annotated[
    datetime,
    BeforeValidator(_moment),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": _LAST_MOMENT}),
]


def _known(purpose: str) -> str:
    if purpose not in PURPOSES:
        raise ValueError(f"must be one of {', '.join(PURPOSES)}")
    return purpose


Purpose = Annotated[
    str, AfterValidator(_known), WithJsonSchema({"type": "string", "enum": list(PURPOSES)})
]


class PageQuery(Query):
    """GET /v1/batches."""

    after: str | None = Field(None, description="The last batch of the page before.")
    limit: Limit(20, 100)  # type: ignore[valid-type]


class FileQuery(Query):
    """GET /v1/files."""

    after: str | None = Field(None, description="The last file of the page before.")
    limit: Limit(MOST_FILES, MOST_FILES)  # type: ignore[valid-type]
    order: Literal["asc", "desc"] = "desc"
    purpose: Purpose | None = None


class FailedQuery(Query):
    """GET /v1/batches/{id}/failed."""

    limit: Limit(MOST_FAILED, MOST_FAILED)  # type: ignore[valid-type]
    after: Annotated[int, Field(ge=0, le=2**31 - 2)] | None = Field(
        None, description="The last request_index of the page before."
    )


class RangeQuery(Query):
    """GET /v1/jobs/stats."""

    start_date: UnixTime | None = None
    end_date: UnixTime | None = None


class HistoryQuery(RangeQuery):
    """GET /v1/jobs/history."""

    limit: Limit(50, 500)  # type: ignore[valid-type]
    offset: Offset = 0
    status: Literal["queued", "in_progress", "completed", "failed", "cancelled"] | None = None
    model: str | None = None
