"""/api/alerts: rules by which operators are told, their silences and tests, and the history."""

from __future__ import annotations

from datetime import UTC

from flask import Blueprint, g

from app.api.alerts.answers import (
    ChangedRule,
    DeletedRule,
    History,
    HistoryQuery,
    NewRule,
    Rule,
    Rules,
    Silence,
    Telling,
    TestResult,
    alert_answer,
    rule_answer,
)
from app.api.openapi import describe, read_query
from app.api.schemas import read_body
from app.auth import needs
from app.core import alert_rules, alerts, delivery_tests
from app.core.models import AlertRule
from app.extensions import current_settings, db

blueprint = Blueprint("alerts", __name__, url_prefix="/api/alerts")


@blueprint.get("")
@needs("operate")
@describe(answer=Rules)
def index() -> Rules:
    """All rules, and which of them are past their limit."""
    session = db.session()
    open_alerts = alerts.open_alerts(session)
    found = [
        rule_answer(each, open_alerts.get(each.id)) for each in alert_rules.list_rules(session)
    ]
    return Rules(rules=found, count=len(found))


@blueprint.post("")
@needs("operate")
@describe(body=NewRule, answer=Rule, errors=(409, 422))
def create() -> Rule:
    """Make a rule."""
    wanted = read_body(NewRule).model_dump(exclude_none=True)
    session = db.session()
    rule = alert_rules.create(session, g.actor.label, wanted)
    session.commit()
    return rule_answer(rule, None)


@blueprint.get("/history")
@needs("operate")
@describe(query=HistoryQuery, answer=History)
def list_history() -> History:
    """When which figure was past its limit, newest first."""
    asked = read_query(HistoryQuery)
    found, has_more = alerts.list_alerts(
        db.session(), rule_id=asked.rule_id, limit=asked.limit, offset=asked.offset
    )
    return History(
        alerts=[alert_answer(each) for each in found],
        limit=asked.limit,
        offset=asked.offset,
        has_more=has_more,
    )


@blueprint.get("/<int:rule_id>")
@needs("operate")
@describe(answer=Rule)
def show(rule_id: int) -> Rule:
    """One rule."""
    return _with_alert(_found(rule_id))


@blueprint.patch("/<int:rule_id>")
@needs("operate")
@describe(body=ChangedRule, answer=Rule, errors=(409, 422))
def change(rule_id: int) -> Rule:
    """Change a rule; its kind stays."""
    wanted = read_body(ChangedRule).model_dump(exclude_unset=True)
    session = db.session()
    rule = alert_rules.change(session, _found(rule_id), g.actor.label, wanted)
    session.commit()
    return _with_alert(rule)


@blueprint.delete("/<int:rule_id>")
@needs("operate")
@describe(answer=DeletedRule)
def delete(rule_id: int) -> DeletedRule:
    """Delete a rule; its alerts stay in the history."""
    session = db.session()
    alert_rules.remove(session, _found(rule_id), g.actor.label)
    session.commit()
    return DeletedRule(id=str(rule_id), deleted=True)


@blueprint.post("/<int:rule_id>/test")
@needs("operate")
@describe(answer=TestResult)
def test(rule_id: int) -> TestResult:
    """Send a test message to each of a rule's targets, and say what happened."""
    session, settings = db.session(), current_settings()
    rule = _found(rule_id)
    messages = alerts.test_messages(session, settings, rule)
    sent = delivery_tests.send(session, list(messages.values()), settings.worker_stale_seconds)
    results = [
        Telling(
            target=target,
            is_delivered=each.delivered_at is not None,
            status_code=each.last_status_code,
            error=each.last_error,
        )
        for target, each in zip(messages, sent, strict=True)
    ]
    return TestResult(rule_id=str(rule_id), results=results)


@blueprint.post("/<int:rule_id>/silence")
@needs("operate")
@describe(body=Silence, answer=Rule, errors=(422,))
def silence(rule_id: int) -> Rule:
    """Tell nothing of a rule until then; what is still so afterwards is told then."""
    body = read_body(Silence)
    session = db.session()
    rule = alert_rules.silence(
        session,
        _found(rule_id),
        g.actor.label,
        until=body.until.astimezone(UTC),
        reason=body.reason,
    )
    session.commit()
    return _with_alert(rule)


@blueprint.delete("/<int:rule_id>/silence")
@needs("operate")
@describe(answer=Rule)
def end_silence(rule_id: int) -> Rule:
    """Tell of a rule again."""
    session = db.session()
    rule = alert_rules.end_silence(session, _found(rule_id), g.actor.label)
    session.commit()
    return _with_alert(rule)


def _found(rule_id: int) -> AlertRule:
    return alert_rules.get(db.session(), rule_id)


def _with_alert(rule: AlertRule) -> Rule:
    return rule_answer(rule, alerts.open_alerts(db.session()).get(rule.id))
