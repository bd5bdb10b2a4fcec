"""Webhook endpoints: who hears of which events, how that goes, their secrets, tests and deliveries."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app.core import (
    dead_letters,
    delivery_log,
    delivery_tests,
    redeliveries,
    users,
    webhook_endpoints,
)
from app.core.errors import Conflict, Invalid, LimitReached, StokerError, Unavailable
from app.core.models import User, WebhookDelivery, WebhookEndpoint
from app.core.users import authorize
from app.core.webhooks import EVENT_TYPES
from app.extensions import current_settings, db
from app.pages.fragments import here, wants_fragment
from app.pages.webhook_form import WebhookForm

blueprint = Blueprint("webhooks", __name__, url_prefix="/webhooks")

_PAGE = 50
_DELIVERIES = 25


@blueprint.get("")
def index() -> str:
    """The page, or only what changes on it."""
    session = db.session()
    found, has_more = webhook_endpoints.list_endpoints(
        session, g.actor.owner_filter, after=request.args.get("after") or None, limit=_PAGE
    )
    return render_template(
        "webhooks/_now.html" if wants_fragment() else "webhooks/index.html",
        here=here(),
        endpoints=found,
        has_more=has_more,
        is_later=bool(request.args.get("after")),
        standings=delivery_log.standings(session, [each.id for each in found]),
        judged=delivery_log.JUDGED,
        dead=dead_letters.count_unheard(session, g.actor.owner_filter),
        most_dead=dead_letters.MOST_COUNTED,
        may_change="submit" in g.actor.scopes,
        sees_all=g.actor.owner_filter is None,
        owners=(
            users.names(session, [each.owner_id for each in found])
            if g.actor.owner_filter is None
            else {}
        ),
    )


@blueprint.get("/new")
def new() -> str:
    """The form of a new endpoint."""
    authorize(g.actor, "submit")
    return _form(WebhookForm())


@blueprint.post("/new")
def create() -> ResponseReturnValue:
    """Make an endpoint, and show its secret this once."""
    authorize(g.actor, "submit")
    form = WebhookForm.sent(request.form)
    if form.faults:
        return _form(form), 422
    session = db.session()
    try:
        webhook_endpoints.check_hearing(g.actor, form.hears_all)
        owner = session.get_one(User, g.actor.user_id)
        endpoint = webhook_endpoints.create(session, owner, g.actor.label, **form.wanted)
        session.commit()
    except StokerError as refusal:
        session.rollback()
        form.refused(refusal)
        return _form(form), refusal.http_status
    return _secret(endpoint, "is made")


@blueprint.get("/<endpoint_id>")
def show(endpoint_id: str) -> str:
    """One endpoint with its log of deliveries, or only what changes on it."""
    session = db.session()
    endpoint = _found(endpoint_id)
    found, has_more = delivery_log.list_deliveries(
        session,
        g.actor.owner_filter,
        endpoint_id=endpoint.id,
        after=request.args.get("after") or None,
        limit=_DELIVERIES,
    )
    return render_template(
        "webhooks/_log.html" if wants_fragment() else "webhooks/show.html",
        here=here(),
        at=datetime.now(UTC),
        endpoint=endpoint,
        deliveries=found,
        tries=delivery_log.tries_of(session, [each.id for each in found]),
        standing=delivery_log.standings(session, [endpoint.id]).get(endpoint.id),
        judged=delivery_log.JUDGED,
        has_more=has_more,
        is_later=bool(request.args.get("after")),
        event_types=EVENT_TYPES,
        may_change="submit" in g.actor.scopes,
    )


@blueprint.get("/<endpoint_id>/edit")
def edit(endpoint_id: str) -> str:
    """The form of an endpoint."""
    endpoint = _mine(endpoint_id)
    return _form(WebhookForm.of(endpoint), endpoint)


@blueprint.post("/<endpoint_id>/edit")
def change(endpoint_id: str) -> ResponseReturnValue:
    """Change an endpoint; one that was disabled hears again."""
    endpoint = _mine(endpoint_id)
    form = WebhookForm.sent(request.form)
    if form.faults:
        return _form(form, endpoint), 422
    session = db.session()
    try:
        webhook_endpoints.check_hearing(g.actor, form.hears_all)
        webhook_endpoints.change(session, endpoint, g.actor.label, **form.wanted)
        session.commit()
    except StokerError as refusal:
        session.rollback()
        form.refused(refusal)
        return _form(form, _mine(endpoint_id)), refusal.http_status
    return _back(endpoint_id)


@blueprint.post("/<endpoint_id>/disable")
def disable(endpoint_id: str) -> ResponseReturnValue:
    """Let it hear of nothing new."""
    session = db.session()
    webhook_endpoints.disable(session, _mine(endpoint_id), g.actor.label)
    session.commit()
    return _back(endpoint_id)


@blueprint.post("/<endpoint_id>/enable")
def enable(endpoint_id: str) -> ResponseReturnValue:
    """Let it hear again."""
    session = db.session()
    webhook_endpoints.change(session, _mine(endpoint_id), g.actor.label)
    session.commit()
    return _back(endpoint_id)


@blueprint.get("/<endpoint_id>/rotate")
def ask_to_rotate(endpoint_id: str) -> str:
    """Say what a new secret means, and ask."""
    return render_template("webhooks/rotate.html", endpoint=_mine(endpoint_id))


@blueprint.post("/<endpoint_id>/rotate")
def rotate(endpoint_id: str) -> str:
    """Give it a new secret, and show that this once."""
    session = db.session()
    endpoint = webhook_endpoints.rotate_secret(
        session, _mine(endpoint_id), g.actor.label, keep_old="keep_old" in request.form
    )
    session.commit()
    return _secret(endpoint, "has a new secret")


@blueprint.get("/<endpoint_id>/delete")
def ask_to_delete(endpoint_id: str) -> str:
    """Say what is lost."""
    return render_template("webhooks/delete.html", endpoint=_mine(endpoint_id), refusal=None)


@blueprint.post("/<endpoint_id>/delete")
def delete(endpoint_id: str) -> ResponseReturnValue:
    """Delete an endpoint with its deliveries."""
    session = db.session()
    try:
        webhook_endpoints.remove(session, _mine(endpoint_id), g.actor.label)
        session.commit()
    except Conflict as refusal:
        session.rollback()
        page = render_template("webhooks/delete.html", endpoint=_mine(endpoint_id), refusal=refusal)
        return page, refusal.http_status
    return redirect(url_for(".index"), 303)


@blueprint.post("/<endpoint_id>/test")
def test(endpoint_id: str) -> ResponseReturnValue:
    """Send it a made-up event, once, and show what it answered."""
    session = db.session()
    endpoint = _mine(endpoint_id)
    event_type = request.form.get("event_type", "")
    if event_type not in EVENT_TYPES:
        raise Invalid(f"event_type must be one of {', '.join(EVENT_TYPES)}.", param="event_type")
    refusal: StokerError | None = None
    sent: WebhookDelivery | None = None
    try:
        message = webhook_endpoints.sample(session, endpoint, event_type)
        (sent,) = delivery_tests.send(session, [message], current_settings().worker_stale_seconds)
    except (Unavailable, LimitReached) as found:
        session.rollback()
        refusal = found
    page = render_template(
        "webhooks/tested.html",
        endpoint=_mine(endpoint_id),
        event_type=event_type,
        sent=sent,
        tries=delivery_log.tries_of(session, [sent.id])[sent.id] if sent else [],
        refusal=refusal,
    )
    return page, 200 if refusal is None else refusal.http_status


@blueprint.post("/<endpoint_id>/deliveries/<delivery_id>/redeliver")
def redeliver(endpoint_id: str, delivery_id: str) -> ResponseReturnValue:
    """Have a delivery sent once more, now."""
    _mine(endpoint_id)
    session = db.session()
    redeliveries.redeliver(
        session, delivery_id, g.actor.owner_filter, g.actor.label, endpoint_id=endpoint_id
    )
    session.commit()
    return redirect(url_for(".show", endpoint_id=endpoint_id, _anchor=delivery_id), 303)


def _found(endpoint_id: str) -> WebhookEndpoint:
    return webhook_endpoints.get(db.session(), endpoint_id, g.actor.owner_filter)


def _mine(endpoint_id: str) -> WebhookEndpoint:
    authorize(g.actor, "submit")
    return _found(endpoint_id)


def _back(endpoint_id: str) -> ResponseReturnValue:
    return redirect(url_for(".show", endpoint_id=endpoint_id), 303)


def _form(form: WebhookForm, endpoint: WebhookEndpoint | None = None) -> str:
    return render_template(
        "webhooks/form.html",
        form=form,
        endpoint=endpoint,
        event_types=EVENT_TYPES,
        may_hear_all=g.actor.owner_filter is None,
    )


def _secret(endpoint: WebhookEndpoint, what: str) -> str:
    return render_template("webhooks/secret.html", endpoint=endpoint, what=what)
