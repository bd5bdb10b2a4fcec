"""/platform/jobs/: the jobs as an earlier platform's administration had them, on the pages' own parts."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app.core import job_actions, job_retries, job_stats, job_types, overview, platform_jobs
from app.core.errors import (
    Conflict,
    Forbidden,
    Invalid,
    LimitReached,
    NotFound,
    Refused,
    StokerError,
)
from app.core.stats import StatsCache
from app.core.status import ACTIONS as ALLOWED
from app.extensions import current_settings, db
from app.pages import platform_lists
from app.pages.fragments import here, wants_fragment
from app.pages.job_details import Details
from app.pages.job_words import ACTIONS

blueprint = Blueprint("platform_jobs", __name__, url_prefix="/platform/jobs")

_REFUSALS = (Conflict, Forbidden, Invalid, LimitReached, Refused)

_counts = StatsCache[dict[str, dict[str, int]]](patience=5.0)
_performance = StatsCache[list[platform_jobs.Performance]](patience=20.0)


@blueprint.get("/")
def index() -> str:
    """How many jobs are active, pending, completed and failed; by queue; the newest; what is slow."""
    session = db.session()
    owner_name = g.actor.owner_name
    key = (session.get_bind(), owner_name)
    queues = _counts.get(key, lambda: job_stats.shown_counts(session, "queue", owner_name))
    now = datetime.now(UTC)
    latest = overview.latest(
        session, since=datetime(2000, 1, 1, tzinfo=UTC), until=now, owner_name=owner_name, limit=10
    )
    return render_template(
        "platform/_dashboard.html" if wants_fragment() else "platform/index.html",
        here=here(),
        at=now,
        counts=platform_lists.counts(queues),
        queues={name: counts for name, counts in sorted(queues.items()) if _is_open(counts)},
        latest=latest,
        slow=[each for each in _measured(owner_name) if each.stats.is_slow],
        kind=None,
    )


@blueprint.get("/active/", defaults={"kind": "active"})
@blueprint.get("/pending/", defaults={"kind": "pending"})
@blueprint.get("/completed/", defaults={"kind": "completed"})
@blueprint.get("/failed/", defaults={"kind": "failed"})
def list_jobs(kind: str) -> str:
    """The jobs of one kind, with what matters of it."""
    session = db.session()
    filters = platform_lists.Filters.read(kind, request.args)
    listed = platform_lists.find(session, filters, g.actor)
    types = (
        []  # they are in the filters above
        if wants_fragment()
        else [each.name for each in job_types.list_types(session, g.actor.owner_name)]
    )
    return render_template(
        "platform/_list.html" if wants_fragment() else "platform/list.html",
        here=here(),
        at=datetime.now(UTC),
        kind=kind,
        filters=filters,
        types=types if filters.type in ("", *types) else [*types, filters.type],
        listed=listed,
        may_act="submit" in g.actor.scopes,
    )


@blueprint.get("/stats/")
def stats() -> str:
    """Every type's runs of the last 30 days: how often, how well, how long, and what they use."""
    return render_template(
        "platform/_stats.html" if wants_fragment() else "platform/stats.html",
        here=here(),
        at=datetime.now(UTC),
        kind="stats",
        found=_measured(g.actor.owner_name),
        slow_seconds=job_stats.SLOW_SECONDS,
        intensive=(platform_jobs.INTENSIVE_CPU_PERCENT, platform_jobs.INTENSIVE_MEMORY_MB),
    )


@blueprint.get("/<job_id>/")
def show(job_id: str) -> str:
    """One job, as its own page shows it."""
    details = Details.read(db.session(), job_id, g.actor)
    return render_template("platform/show.html", details=details, kind=None)


@blueprint.get("/<job_id>/retry/", defaults={"action": "retry"})
@blueprint.get("/<job_id>/cancel/", defaults={"action": "cancel"})
def ask(job_id: str, action: str) -> str:
    """Say what a retry or a cancellation would do, before it is done."""
    return _ask(job_id, action)


@blueprint.post("/<job_id>/retry/")
def retry(job_id: str) -> ResponseReturnValue:
    """Make a job again, and show the new one."""
    try:
        made = job_retries.retry(db.session(), current_settings(), job_id, g.actor)
    except _REFUSALS as refusal:
        return _refused(job_id, "retry", refusal)
    db.session.commit()
    return redirect(url_for("jobs.show", job_id=made.job_id), 303)


@blueprint.post("/<job_id>/cancel/")
def cancel(job_id: str) -> ResponseReturnValue:
    """Cancel a job, and show what became of it."""
    try:
        done = job_actions.cancel(db.session(), job_id, g.actor)
    except _REFUSALS as refusal:
        return _refused(job_id, "cancel", refusal)
    db.session.commit()
    return redirect(url_for("jobs.show", job_id=done.job_id), 303)


def _ask(job_id: str, action: str, refusal: StokerError | None = None) -> str:
    details = Details.read(db.session(), job_id, g.actor)
    return render_template(
        "platform/ask.html",
        details=details,
        action=ACTIONS[action],
        words=ACTIONS[action].words(details.word),
        is_allowed=action in details.actions,
        allowed=ALLOWED[details.word],
        refusal=refusal,
        kind=None,
        back=url_for("platform_jobs.list_jobs", kind=platform_lists.kind_of(details.word)),
    )


def _refused(job_id: str, action: str, refusal: StokerError) -> ResponseReturnValue:
    db.session.rollback()
    try:
        return _ask(job_id, action, refusal), refusal.http_status
    except NotFound:
        raise refusal from None


def _measured(owner_name: str | None) -> list[platform_jobs.Performance]:
    session = db.session()
    key = (session.get_bind(), owner_name)
    return _performance.get(key, lambda: platform_jobs.performance(session, owner_name))


def _is_open(counts: dict[str, int]) -> bool:
    return any(counts[status] for status in ("running", "pending", "retrying", "scheduled"))
