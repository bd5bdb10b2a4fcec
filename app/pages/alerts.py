"""Alerts: what is past its limit now, the rules that watch it, their silences and tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flask import Blueprint, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from app.auth import only_for
from app.core import (
    alert_rules,
    alert_words,
    alerts,
    delivery_tests,
    job_types,
    reasons,
    webhook_endpoints,
)
from app.core.alert_figures import KINDS
from app.core.errors import Invalid, LimitReached, NotFound, Refused, StokerError, Unavailable
from app.core.models import AlertRule
from app.core.users import authorize
from app.extensions import current_settings, db
from app.pages import paging
from app.pages.alert_form import AlertForm
from app.pages.fragments import here, wants_fragment
from app.pages.typed_times import moment

blueprint = Blueprint("alerts_page", __name__, url_prefix="/alerts")
only_for(blueprint, "operate")

SILENCES = {"1h": ("1 hour", 1), "4h": ("4 hours", 4), "24h": ("1 day", 24), "7d": ("7 days", 168)}
_MOST_ENDPOINTS = 100
_PAGE = 20
_FARTHEST = 100_000


@blueprint.get("")
def index() -> str:
    """The page, or only what changes on it."""
    session = db.session()
    offset = paging.offset(request.args, _FARTHEST)
    open_alerts = alerts.open_alerts(session)
    history, has_more = alerts.list_alerts(session, limit=_PAGE, offset=offset)
    rules = alert_rules.list_rules(session)
    return render_template(
        "alerts/_now.html" if wants_fragment() else "alerts/index.html",
        here=here(),
        at=datetime.now(UTC),
        rules=rules,
        by_id={rule.id: rule for rule in rules},
        open_alerts=open_alerts,
        watches={rule.id: alert_words.what(rule) for rule in rules},
        limits={rule.id: _limit(rule) for rule in rules},
        endpoints=_endpoint_names(),
        history=history,
        offset=offset,
        page=_PAGE,
        has_more=has_more,
    )


@blueprint.get("/new")
def choose() -> str:
    """Choose what a new rule is to watch."""
    authorize(g.actor, "operate")
    return render_template(
        "alerts/choose.html", kinds=[(name, _kind_words(name)) for name in KINDS]
    )


@blueprint.get("/new/<kind>")
def new(kind: str) -> str:
    """The form of a new rule."""
    return _form(AlertForm.empty(_known(kind)))


@blueprint.post("/new/<kind>")
def create(kind: str) -> ResponseReturnValue:
    """Make a rule, and show it among the others."""
    form = AlertForm.sent(_known(kind), request.form)
    return _save(form, None)


@blueprint.get("/<int:rule_id>")
def edit(rule_id: int) -> str:
    """The form of a rule."""
    rule = _found(rule_id)
    return _form(AlertForm.of(rule), rule)


@blueprint.post("/<int:rule_id>")
def change(rule_id: int) -> ResponseReturnValue:
    """Change a rule, and show it among the others."""
    rule = _found(rule_id)
    return _save(AlertForm.sent(rule.kind, request.form), rule)


@blueprint.get("/<int:rule_id>/delete")
def ask_to_delete(rule_id: int) -> str:
    """Say what is lost."""
    authorize(g.actor, "operate")
    return render_template("alerts/delete.html", rule=_found(rule_id))


@blueprint.post("/<int:rule_id>/delete")
def delete(rule_id: int) -> ResponseReturnValue:
    """Delete a rule; its alerts stay in the history."""
    session = db.session()
    alert_rules.remove(session, _found(rule_id), g.actor.label)
    session.commit()
    return redirect(url_for(".index"), 303)


@blueprint.post("/<int:rule_id>/test")
def test(rule_id: int) -> ResponseReturnValue:
    """Send each recipient a message that says it is a test, and show what came of it."""
    session, settings = db.session(), current_settings()
    rule = _found(rule_id)
    messages = alerts.test_messages(session, settings, rule)
    refusal: StokerError | None = None
    results = []
    try:
        sent = delivery_tests.send(session, list(messages.values()), settings.worker_stale_seconds)
        results = list(zip(messages, sent, strict=True))
    except (Unavailable, LimitReached) as found:
        session.rollback()
        refusal = found
    page = render_template(
        "alerts/tested.html",
        rule=_found(rule_id),
        results=results,
        refusal=refusal,
        endpoints=_endpoint_names(),
    )
    return page, 200 if refusal is None else refusal.http_status


@blueprint.get("/<int:rule_id>/silence")
def ask_to_silence(rule_id: int) -> str:
    """Ask until when, and why."""
    return _ask_to_silence(_found(rule_id))


@blueprint.post("/<int:rule_id>/silence")
def silence(rule_id: int) -> ResponseReturnValue:
    """Tell nothing of a rule until then."""
    session = db.session()
    rule = _found(rule_id)
    try:
        reason = request.form.get("reason", "")
        until = _until()
        alert_rules.silence(session, rule, g.actor.label, until=until, reason=reason)
    except (Invalid, Refused) as refusal:
        session.rollback()
        return _ask_to_silence(_found(rule_id), refusal), refusal.http_status
    session.commit()
    return redirect(url_for(".index"), 303)


@blueprint.post("/<int:rule_id>/unsilence")
def unsilence(rule_id: int) -> ResponseReturnValue:
    """Tell of a rule again."""
    session = db.session()
    alert_rules.end_silence(session, _found(rule_id), g.actor.label)
    session.commit()
    return redirect(url_for(".index"), 303)


def _save(form: AlertForm, rule: AlertRule | None) -> ResponseReturnValue:
    session = db.session()
    wanted = form.wanted(rule)
    if form.faults:
        return _form(form, rule), 422
    rule_id = None if rule is None else rule.id
    try:
        if rule is None:
            alert_rules.create(session, g.actor.label, {**wanted, "kind": form.kind})
        else:
            alert_rules.change(session, rule, g.actor.label, wanted)
        session.commit()
    except StokerError as refusal:
        session.rollback()
        form.refused(refusal)
        return _form(form, None if rule_id is None else _found(rule_id)), refusal.http_status
    return redirect(url_for(".index"), 303)


def _form(form: AlertForm, rule: AlertRule | None = None) -> str:
    authorize(g.actor, "operate")
    session = db.session()
    return render_template(
        "alerts/form.html",
        form=form,
        rule=rule,
        words=_kind_words(form.kind),
        endpoints=_endpoint_names(),
        types=[each.name for each in job_types.list_types(session)],
    )


def _ask_to_silence(rule: AlertRule, refusal: StokerError | None = None) -> str:
    authorize(g.actor, "operate")
    return render_template(
        "alerts/silence.html",
        rule=rule,
        silences=SILENCES,
        refusal=refusal,
        sent=request.form,
        longest=reasons.LONGEST,
    )


def _until() -> datetime:
    chosen = request.form.get("lasts", "")
    if chosen in SILENCES:
        return datetime.now(UTC) + timedelta(hours=SILENCES[chosen][1])
    until = moment(request.form, "until")
    if until is None:
        raise Invalid("Choose for how long, or until when.", param="until")
    return until


def _kind_words(kind: str) -> str:
    words = KINDS[kind].words.format(of="", window="some time")
    return words[0].upper() + words[1:]


def _limit(rule: AlertRule) -> str:
    limit = alert_words.amount(rule.threshold, KINDS[rule.kind].unit)
    return f"less than {limit}" if KINDS[rule.kind].is_floor else f"{limit} or more"


def _endpoint_names() -> dict[str, str]:
    found, _ = webhook_endpoints.list_endpoints(
        db.session(), None, after=None, limit=_MOST_ENDPOINTS
    )
    return {each.id: each.name for each in found}


def _known(kind: str) -> str:
    if kind not in KINDS:
        raise NotFound(f"There is no kind of alert called {kind[:100]!r}.", param="kind")
    return kind


def _found(rule_id: int) -> AlertRule:
    if rule_id >= 2**62:
        raise NotFound(f"There is no alert rule {rule_id}.", param="rule_id")
    return alert_rules.get(db.session(), rule_id)
