"""/v1/jobs: the history of batches, and statistics over it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from flask import Blueprint, g

from app.api.parameters import (
    read_choice,
    read_limit,
    read_offset,
    read_text,
    read_unix_time,
)
from app.api.v1.objects import unix
from app.auth import needs
from app.core import history, stats
from app.core.status import HISTORY_STATUSES
from app.extensions import db

blueprint = Blueprint("jobs", __name__, url_prefix="/jobs")

_PAGE = 50
_LARGEST_PAGE = 500

_cache = stats.StatsCache()


@blueprint.get("/history")
@needs("read")
def list_history() -> dict[str, Any]:
    """A page of batches, newest first, filtered."""
    found = history.list_jobs(
        db.session(),
        owner_id=g.actor.owner_filter,
        status=read_choice("status", HISTORY_STATUSES),
        model=read_text("model"),
        start_date=read_unix_time("start_date"),
        end_date=read_unix_time("end_date"),
        limit=read_limit(_PAGE, _LARGEST_PAGE),
        offset=read_offset(),
    )
    return {
        "jobs": [_described(job) for job in found.jobs],
        "total": found.total,
        "limit": found.limit,
        "offset": found.offset,
        "has_more": found.has_more,
    }


@blueprint.get("/stats")
@needs("read")
def show_stats() -> dict[str, Any]:
    """Totals, rates and a timeline of the batches created in a range."""
    session = db.session()
    asked = {
        "owner_id": g.actor.owner_filter,
        "start_date": read_unix_time("start_date"),
        "end_date": read_unix_time("end_date"),
    }
    key = (session.get_bind(), *asked.values())
    answer = _cache.get(key, lambda: stats.job_stats(session, **asked))
    described = asdict(answer)
    described.pop("request_success_rate")
    return described


def _described(job: history.HistoryJob) -> dict[str, Any]:
    described = asdict(job)
    described.pop("native_status")
    return {
        name: unix(value) if isinstance(value, datetime) else value
        for name, value in described.items()
    }
