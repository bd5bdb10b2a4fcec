"""The job history: figures, filters, the list, and one batch's details."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint, g, render_template, request

from app.core import batches, history, queue, stats
from app.extensions import db
from app.pages.details import Details
from app.pages.filters import Filters
from app.pages.fragments import here, wants_fragment
from app.pages.home import first_batch_command

blueprint = Blueprint("history", __name__, url_prefix="/history")

_PAGE_SIZE = 50
# Every viewer asks again at each change: sums that take 0.5 s are made once in 10 s, no oftener.
_figures = stats.StatsCache[stats.JobStats](patience=20.0)


@blueprint.get("")
def index() -> str:
    """The page, or only what changes on it."""
    session = db.session()
    filters = Filters.read(request.args)
    owner_id = g.actor.owner_filter
    page = history.list_jobs(
        session,
        owner_id=owner_id,
        status=filters.status,
        model=filters.model,
        start_date=filters.start_at,
        end_date=filters.end_at,
        limit=_PAGE_SIZE,
        offset=filters.offset,
        now=datetime.now(UTC),
    )
    figures = _figures.get(
        (session.get_bind(), owner_id, filters.range, filters.first_day, filters.last_day),
        lambda: stats.job_stats(
            session, owner_id=owner_id, start_date=filters.start_at, end_date=filters.end_at
        ),
    )
    return render_template(
        "history/_jobs.html" if wants_fragment() else "history/index.html",
        filters=filters,
        page=page,
        stats=figures,
        models=filters.with_own_model(history.list_models(session, owner_id)),
        places=queue.positions(session) if "queued" in {job.status for job in page.jobs} else {},
        here=here(),
        first_batch=first_batch_command(),
    )


@blueprint.get("/<batch_id>")
def show(batch_id: str) -> str:
    """One batch: a page of its own, or the inside of the dialog."""
    session = db.session()
    batch = batches.get(session, batch_id, g.actor.owner_filter)
    return render_template(
        "history/_batch.html" if wants_fragment() else "history/show.html",
        batch=batch,
        details=Details(session, batch),
    )
