"""/v1/jobs: the history of batches, and statistics over it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from flask import Blueprint, g

from app.api.openapi import describe, read_query
from app.api.v1 import answers
from app.api.v1.objects import unix
from app.api.v1.queries import HistoryQuery, RangeQuery
from app.auth import needs
from app.core import history, stats
from app.extensions import db

blueprint = Blueprint("jobs", __name__, url_prefix="/jobs")

_cache = stats.StatsCache[stats.JobStats]()


@blueprint.get("/history")
@needs("read")
@describe(query=HistoryQuery, answer=answers.History)
def list_history() -> dict[str, Any]:
    """A page of batches, newest first, filtered."""
    asked = read_query(HistoryQuery)
    found = history.list_jobs(
        db.session(),
        owner_id=g.actor.owner_filter,
        status=asked.status,
        model=asked.model,
        start_date=asked.start_date,
        end_date=asked.end_date,
        limit=asked.limit,
        offset=asked.offset,
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
@describe(query=RangeQuery, answer=answers.Stats)
def show_stats() -> dict[str, Any]:
    """Totals, rates and a timeline of the batches created in a range."""
    asked = read_query(RangeQuery)
    session = db.session()
    given = {
        "owner_id": g.actor.owner_filter,
        "start_date": asked.start_date,
        "end_date": asked.end_date,
    }
    key = (session.get_bind(), *given.values())
    answer = _cache.get(key, lambda: stats.job_stats(session, **given))
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
