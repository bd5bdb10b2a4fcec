"""/api/alerts: rules by which operators are told, their silences and tests, and the history."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from flask import Blueprint, g
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from app.api.openapi import Answer, Limit, Offset, Query, describe, read_query
from app.api.schemas import PlainText, read_body
from app.auth import needs
from app.core import alert_rules, alerts, delivery_tests
from app.core.alert_figures import KINDS
from app.core.models import Alert, AlertRule
from app.extensions import current_settings, db

blueprint = Blueprint("alerts", __name__, url_prefix="/api/alerts")

KindName = Literal["job_failure", "failure_rate", "queue_age", "no_worker", "slow_job", "disk_low"]
_Name = Annotated[PlainText, Field(min_length=1, max_length=200)]
_Target = Annotated[str, Field(min_length=1, max_length=254)]
_Targets = Annotated[list[_Target], Field(min_length=1, max_length=alert_rules.MOST_TARGETS)]
_Count = Annotated[int, Field(ge=0, le=10**6)]
_Seconds = Annotated[int, Field(ge=0, le=alert_rules.LONGEST_WINDOW_SECONDS)]
_Limit = Annotated[float, Field(gt=0, le=1e18)]


class NewRule(BaseModel):
    """POST /api/alerts. What is left out is as the kind has it; null means the same."""

    model_config = ConfigDict(extra="forbid")

    name: _Name
    kind: KindName
    targets: _Targets
    threshold: _Limit | None = None
    window_seconds: _Seconds | None = None
    fewest_jobs: _Count | None = None
    queue: _Name | None = None
    task: _Name | None = None
    cooldown_seconds: _Seconds | None = None
    is_enabled: bool = True


class ChangedRule(BaseModel):
    """PATCH /api/alerts/{id}: what is to be another. A `queue` or `task` of null means any."""

    model_config = ConfigDict(extra="forbid")

    name: _Name = ""
    targets: _Targets = []
    threshold: _Limit = 1
    window_seconds: _Seconds = 0
    fewest_jobs: _Count = 0
    queue: _Name | None = None
    task: _Name | None = None
    cooldown_seconds: _Seconds = 0
    is_enabled: bool = True


class Silence(BaseModel):
    """POST /api/alerts/{id}/silence."""

    model_config = ConfigDict(extra="forbid")

    until: AwareDatetime
    reason: Annotated[PlainText, Field(min_length=1, max_length=500)]


class Rule(Answer):
    """A rule, with whether its figure is past its limit now; `unit` is that of the threshold."""

    id: str
    name: str
    kind: KindName
    threshold: float
    unit: str
    window_seconds: int
    fewest_jobs: int
    queue: str | None
    task: str | None
    targets: list[str]
    cooldown_seconds: int
    is_enabled: bool
    silenced_until: datetime | None
    silenced_by: str | None
    silence_reason: str | None
    last_told_at: datetime | None
    created_at: datetime
    created_by: str
    updated_at: datetime
    is_open: bool
    figure: float | None
    open_since: datetime | None


class Rules(Answer):
    """All rules, by name."""

    rules: list[Rule]
    count: int


class Telling(Answer):
    """What became of a test message to one target."""

    target: str
    is_delivered: bool
    status_code: int | None
    error: str | None


class TestResult(Answer):
    """What became of the test messages, in the order of the rule's targets."""

    rule_id: str
    results: list[Telling]


class AlertRow(Answer):
    """One time that a figure was past its limit."""

    id: str
    rule_id: str
    rule: str
    kind: KindName
    text: str
    figure: float
    threshold: float
    unit: str
    job_id: str | None
    since: datetime
    opened_at: datetime
    last_seen_at: datetime
    resolved_at: datetime | None
    told_at: datetime | None
    resolved_told_at: datetime | None


class History(Answer):
    """Alerts, newest first."""

    alerts: list[AlertRow]
    limit: int
    offset: int
    has_more: bool


class DeletedRule(Answer):
    """What was removed."""

    id: str
    deleted: Literal[True]


class HistoryQuery(Query):
    """GET /api/alerts/history."""

    rule_id: Annotated[int, Field(ge=1, le=2**62)] | None = None
    limit: Limit(50, 500)  # type: ignore[valid-type]
    offset: Offset = 0


@blueprint.get("")
@needs("operate")
@describe(answer=Rules)
def index() -> Rules:
    """All rules, and which of them are past their limit."""
    session = db.session()
    open_alerts = alerts.open_alerts(session)
    found = [_rule(each, open_alerts.get(each.id)) for each in alert_rules.list_rules(session)]
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
    return _rule(rule, None)


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
        alerts=[_alert(each) for each in found],
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
    return _rule(rule, alerts.open_alerts(db.session()).get(rule.id))


def _rule(rule: AlertRule, alert: Alert | None) -> Rule:
    own = {
        name: getattr(rule, name)
        for name in Rule.model_fields
        if name not in ("id", "unit", "is_open", "figure", "open_since")
    }
    return Rule(
        **own,
        id=str(rule.id),
        unit=KINDS[rule.kind].unit,
        is_open=alert is not None,
        figure=None if alert is None else alert.figure,
        open_since=None if alert is None else alert.opened_at,
    )


def _alert(alert: Alert) -> AlertRow:
    own: dict[str, Any] = {
        name: getattr(alert, name)
        for name in AlertRow.model_fields
        if name not in ("id", "rule_id", "rule", "unit", "job_id")
    }
    return AlertRow(
        **own,
        id=str(alert.id),
        rule_id=str(alert.rule_id),
        rule=alert.rule_name,
        unit=KINDS[alert.kind].unit,
        job_id=None if alert.job_id is None else str(alert.job_id),
    )
