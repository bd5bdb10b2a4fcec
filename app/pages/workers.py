"""One worker's page: what it is, the jobs that it ran, and the lives of its machine's workers."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from flask import Blueprint, g, render_template

from app.core import worker_history
from app.core.search_syntax import quoted
from app.core.status import shown
from app.extensions import current_settings, db
from app.pages.fragments import here, wants_fragment

blueprint = Blueprint("workers", __name__, url_prefix="/queue/workers")


@blueprint.get("/<uuid:worker_id>")
def show(worker_id: UUID) -> str:
    """The page, or only what changes on it."""
    session = db.session()
    now = datetime.now(UTC)
    worker = worker_history.get(session, worker_id)
    age_seconds = (now - worker.last_heartbeat_at).total_seconds()
    stale_seconds = current_settings().worker_stale_seconds
    owner_name = g.actor.owner_name
    jobs = worker_history.list_jobs(session, worker, owner_name)
    return render_template(
        "queue/_worker.html" if wants_fragment() else "queue/worker.html",
        here=here(),
        worker=worker,
        is_alive=worker.stopped_at is None and age_seconds <= stale_seconds,
        stale_seconds=stale_seconds,
        jobs=[(job, shown(job.status, job.scheduled_at, now)) for job in jobs],
        lives=worker_history.list_lives(session, worker, owner_name),
        count_limit=worker_history.COUNT_LIMIT,
        most_jobs=worker_history.MOST_JOBS,
        search="" if "," in worker.name else f"worker:{quoted(worker.name)}",
        now=now,
    )
