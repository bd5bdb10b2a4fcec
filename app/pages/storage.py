"""Storage: how the tables are, what is kept how long, the runs of the clean-up, and one by hand."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app.auth import only_for
from app.core import (
    queue_stats,
    retention_forecast,
    retention_runs,
    table_advice,
    table_health,
)
from app.core.defer import defer
from app.core.errors import Conflict, LimitReached, Refused, StokerError
from app.core.retention_forecast import Forecast
from app.core.retention_rules import job_days
from app.core.stats import StatsCache
from app.core.table_health import Health
from app.core.users import authorize
from app.extensions import current_settings, db
from app.pages import paging
from app.pages.fragments import here, wants_fragment

blueprint = Blueprint("storage", __name__, url_prefix="/storage")
only_for(blueprint, "operate")

_PAGE = 10
_FARTHEST = 10_000
_MOST_TABLES = 12

_health = StatsCache[Health](patience=20.0)
_forecast = StatsCache[list[Forecast]](patience=20.0)


@blueprint.get("")
def index() -> str:
    """The page, or only what changes on it."""
    session, settings = db.session(), current_settings()
    offset = paging.offset(request.args, _FARTHEST)
    health = _health.get(session.get_bind(), lambda: table_health.look(session, settings))
    runs, has_more = retention_runs.runs(session, limit=_PAGE, offset=offset)
    shows_all = request.args.get("tables") == "all"
    shown = len(health.tables) if shows_all else _MOST_TABLES
    last = runs[0] if runs and not offset else _last_run()
    return render_template(
        "storage/_now.html" if wants_fragment() else "storage/index.html",
        here=here(),
        at=datetime.now(UTC),
        health=health,
        tables=health.tables[:shown],
        smaller=health.tables[shown:],
        shows_all=shows_all,
        advice=table_advice.find(health, settings, last),
        last=last,
        rules=retention_runs.last_runs(session, settings),
        job_days=job_days(settings),
        hour=settings.retention_hour,
        runs=runs,
        offset=offset,
        page=_PAGE,
        has_more=has_more,
    )


@blueprint.get("/clean-up")
def ask_to_clean_up() -> str:
    """The dry run: what would go now; administrators may have it removed."""
    return _ask()


@blueprint.post("/clean-up")
def clean_up() -> ResponseReturnValue:
    """Start the job that removes what is past its time, and lead to it."""
    authorize(g.actor, "admin")
    session = db.session()
    try:
        if retention_runs.goes_on(session):
            raise Conflict("A run of the clean-up goes on; it does the same.")
        deferred = defer(session, "cleanup", {}, g.actor, settings=current_settings())
    except (Conflict, LimitReached, Refused) as refusal:
        session.rollback()
        return _ask(refusal), refusal.http_status
    session.commit()
    return redirect(url_for("jobs.show", job_id=deferred.job_id), 303)


def _ask(refusal: StokerError | None = None) -> str:
    session, settings = db.session(), current_settings()
    return render_template(
        "storage/clean_up.html",
        forecast=_forecast.get(
            session.get_bind(), lambda: retention_forecast.look(session, settings)
        ),
        most_counted=retention_forecast.MOST_COUNTED,
        alive=queue_stats.count_active_workers(session, settings.worker_stale_seconds),
        goes_on=retention_runs.goes_on(session),
        may_clean_up="admin" in g.actor.scopes,
        refusal=refusal,
    )


def _last_run() -> retention_runs.Run | None:
    runs, _ = retention_runs.runs(db.session(), limit=1)
    return runs[0] if runs else None
