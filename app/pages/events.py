"""The incidents: what an operator should look at, with what a model says of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app.core import engines, incident_lists, job_types, verdicts
from app.core.defer import defer
from app.core.errors import (
    Conflict,
    Forbidden,
    Invalid,
    LimitReached,
    NotFound,
    Refused,
    StokerError,
)
from app.core.incident_matching import Wanted
from app.core.users import authorize
from app.extensions import current_settings, db
from app.pages import event_filters
from app.pages.event_filters import EventFilters
from app.pages.fragments import here, wants_fragment

blueprint = Blueprint("events_pages", __name__, url_prefix="/events")

_PAGE_SIZE = 50
_SAMPLE = 5
_REFUSALS = (Conflict, Forbidden, Invalid, LimitReached, NotFound, Refused)
_FORMATS = ("csv", "json", "zip")


@blueprint.get("")
def index() -> str:
    """The incidents that the reader may see, newest first."""
    session = db.session()
    filters = EventFilters.read(request.args)
    now = datetime.now(UTC)
    page = incident_lists.page(
        session,
        filters.wanted(now),
        owner_name=g.actor.owner_name,
        limit=_PAGE_SIZE,
        cursor=filters.cursor or None,
    )
    types = (
        []  # they are in the filters above
        if wants_fragment()
        else [each.name for each in job_types.list_types(session, g.actor.owner_name)]
    )
    return render_template(
        "events/_list.html" if wants_fragment() else "events/index.html",
        here=here(),
        at=now,
        filters=filters,
        page=page,
        types=types if filters.type in ("", *types) else [*types, filters.type],
        formats=_FORMATS,
        may_review="operate" in g.actor.scopes,
        may_export="submit" in g.actor.scopes,
    )


@blueprint.get("/<int:incident_id>")
def show(incident_id: int) -> str:
    """One incident: what it says, how often, its job, the model's verdict, and who reviewed it."""
    wanted = Wanted(ids=(min(incident_id, 2**63 - 1),))
    found = incident_lists.page(db.session(), wanted, owner_name=g.actor.owner_name, limit=1)
    if not found.incidents:
        raise NotFound(f"There is no incident {incident_id}.", param="incident_id")
    (incident,) = found.incidents
    return render_template(
        "events/_incident.html" if wants_fragment() else "events/show.html",
        here=here(),
        incident=incident,
        details=json.dumps(incident.details, indent=2, ensure_ascii=False),
        may_review="operate" in g.actor.scopes,
    )


@blueprint.get("/review", defaults={"action": "review"})
@blueprint.get("/audit", defaults={"action": "audit"})
def ask(action: str) -> str:
    """Say to how many incidents an action would be done, before it is done."""
    return _ask(action, request.args)


@blueprint.post("/review")
def review() -> ResponseReturnValue:
    """Mark incidents as reviewed, and go back to the list."""
    authorize(g.actor, "operate")
    session = db.session()
    filters, wanted = event_filters.chosen(request.form)
    incident_lists.review(session, wanted, g.actor.label)
    session.commit()
    return redirect(filters.url(), 303)


@blueprint.post("/audit")
def audit() -> ResponseReturnValue:
    """Let a model judge incidents, and show the job that does it."""
    authorize(g.actor, "operate")
    session = db.session()
    _, wanted = event_filters.chosen(request.form)
    ids = incident_lists.ids(session, wanted)
    try:
        if not ids:
            raise Conflict("None of these incidents is left.")
        model = request.form.get("model", "")
        if model not in _judges():
            raise Invalid("model must be one of those that write text here.", param="model")
        arguments = {"model": model, "incident_ids": ids}
        deferred = defer(session, "batch_audit", arguments, g.actor, settings=current_settings())
    except _REFUSALS as refusal:
        session.rollback()
        return _ask("audit", request.form, refusal), refusal.http_status
    session.commit()
    return redirect(url_for("jobs.show", job_id=deferred.job_id), 303)


@blueprint.post("/export")
def export() -> ResponseReturnValue:
    """Start an export of what severity, source, review and window choose, and show its job."""
    session = db.session()
    filters = EventFilters.read(request.form)
    wanted = filters.wanted(datetime.now(UTC))
    asked: dict[str, Any] = {
        "what": "events",
        "format": request.form.get("format", "csv")[:20],
        "risk_level": wanted.risk_level,
        "source": wanted.source,
        "reviewed": wanted.is_reviewed,
        "start_date": wanted.since and wanted.since.isoformat(),
    }
    given = {name: value for name, value in asked.items() if value is not None}
    deferred = defer(session, "export", given, g.actor, settings=current_settings())
    session.commit()
    return redirect(url_for("jobs.show", job_id=deferred.job_id), 303)


def _ask(action: str, args: Any, refusal: StokerError | None = None) -> str:
    authorize(g.actor, "operate")
    session = db.session()
    filters, wanted = event_filters.chosen(args)
    page = incident_lists.page(session, wanted, owner_name=None, limit=_SAMPLE)
    return render_template(
        "events/ask.html",
        action=action,
        filters=filters,
        page=page,
        ids=wanted.ids or (),
        until=wanted.until,
        models=_judges() if action == "audit" else [],
        model=args.get("model", ""),
        refusal=refusal,
    )


def _judges() -> list[str]:
    """The models that write text."""
    found = []
    for name, spec in engines.load_registry(current_settings().models_path).models.items():
        try:
            verdicts.endpoint_for(spec.endpoints, name)
        except Invalid:
            continue
        found.append(name)
    return found
