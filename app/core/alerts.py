"""Alerts: opened when a rule's figure is past its limit, told to its targets, told again when over.

All of it is in the database, so whichever housekeeper looks next goes on where the last one was;
a message is a delivery (app.core.deliveries) made in the transaction that says it was told.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from app.core import alert_words, listening
from app.core.addresses import MAIL_SCHEME, is_mailbox
from app.core.alert_figures import Figure, is_past, measure
from app.core.models import Alert, AlertRule, WebhookDelivery, WebhookEndpoint
from app.core.settings import Settings
from app.core.webhooks import make_delivery

_log = structlog.get_logger("alerts")


def evaluate(session: Session, settings: Settings, now: datetime | None = None) -> int:
    """Look at every enabled rule's figure and tell what is to be told; commits. How many were told.

    One rule that can't be measured keeps no other from it.
    """
    told = 0
    rule_ids = session.scalars(
        select(AlertRule.id).where(AlertRule.is_enabled).order_by(AlertRule.id)
    ).all()
    session.commit()
    for rule_id in rule_ids:
        try:
            moment = now or session.scalars(select(func.clock_timestamp())).one()
            told += _evaluate(session, settings, rule_id, moment)
            session.commit()
        except Exception as fault:
            session.rollback()
            _log.warning("alert.not_evaluated", rule=rule_id, error=str(fault)[:300])
    return told


def list_alerts(
    session: Session, *, rule_id: int | None = None, limit: int, offset: int
) -> tuple[Sequence[Alert], bool]:
    """The history, newest first, and whether more follow."""
    query = select(Alert)
    if rule_id is not None:
        query = query.where(Alert.rule_id == rule_id)
    query = query.order_by(Alert.opened_at.desc(), Alert.id.desc()).offset(offset).limit(limit + 1)
    found = session.scalars(query).all()
    return found[:limit], len(found) > limit


def open_alerts(session: Session) -> dict[int, Alert]:
    """What is past its limit now, by rule."""
    return {
        alert.rule_id: alert
        for alert in session.scalars(select(Alert).where(Alert.resolved_at.is_(None)))
    }


def test_messages(
    session: Session, settings: Settings, rule: AlertRule
) -> dict[str, WebhookDelivery]:
    """A message that says it is a test, for each of a rule's targets."""
    data = alert_words.test(rule, settings.public_url)
    messages = {
        target: _message(session, target, "alert.test", data, is_test=True)
        for target in rule.targets
    }
    return {target: message for target, message in messages.items() if message is not None}


def _evaluate(session: Session, settings: Settings, rule_id: int, now: datetime) -> int:
    # Locked: whoever changes or deletes the rule comes before this look, or after.
    rule = session.scalar(
        select(AlertRule)
        .where(AlertRule.id == rule_id, AlertRule.is_enabled)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    if rule is None:
        return 0
    figure = measure(session, settings, rule, now)
    alert = session.scalar(
        select(Alert)
        .where(Alert.rule_id == rule.id, Alert.resolved_at.is_(None))
        .execution_options(populate_existing=True)
    )
    if is_past(rule, figure):
        if alert is None:
            alert = _open(session, rule, figure, now)
            listening.tell(session, "alert")
        alert.figure = figure.value
        alert.threshold = rule.threshold
        alert.text = alert_words.sentence(rule, figure.value, figure.named)
        alert.job_id = figure.job_id or alert.job_id
        alert.last_seen_at = now
    elif alert is not None:
        alert.resolved_at = now
        listening.tell(session, "alert")
        if alert.told_at is None:
            alert.resolved_told_at = now  # who has not heard of it need not hear of its end
    session.flush()
    return _tell(session, settings, rule, figure, now)


def _open(session: Session, rule: AlertRule, figure: Figure, now: datetime) -> Alert:
    alert = Alert(
        rule_id=rule.id,
        rule_name=rule.name,
        kind=rule.kind,
        since=min(figure.since or now, now),
        opened_at=now,
    )
    session.add(alert)
    return alert


def _tell(
    session: Session, settings: Settings, rule: AlertRule, figure: Figure, now: datetime
) -> int:
    if rule.silenced_until is not None and rule.silenced_until > now:
        return 0
    untold = session.scalars(
        select(Alert)
        .where(
            Alert.rule_id == rule.id,
            or_(
                Alert.resolved_at.is_(None) & Alert.told_at.is_(None),
                Alert.resolved_at.is_not(None)
                & Alert.told_at.is_not(None)
                & Alert.resolved_told_at.is_(None),
            ),
        )
        .order_by(Alert.opened_at)
    ).all()
    told = 0
    for alert in untold:
        if alert.resolved_at is not None:
            type_ = "alert.resolved"
            data = alert_words.resolved(rule, alert, figure.value, settings.public_url)
            alert.resolved_told_at = now
        elif _is_cool(rule, now):
            type_ = "alert.opened"
            data = alert_words.opened(alert, settings.public_url)
            alert.told_at = rule.last_told_at = now
        else:
            continue
        for target in rule.targets:
            message = _message(session, target, type_, data)
            if message is not None:
                session.add(message)
        _log.info(type_, rule=rule.name, figure=alert.figure, threshold=alert.threshold)
        told += 1
    if told:
        listening.tell(session, "alert")
    return told


def _is_cool(rule: AlertRule, now: datetime) -> bool:
    if rule.last_told_at is None:
        return True
    return rule.last_told_at + timedelta(seconds=rule.cooldown_seconds) <= now


def _message(
    session: Session, target: str, type_: str, data: dict[str, object], *, is_test: bool = False
) -> WebhookDelivery | None:
    if is_mailbox(target):
        return make_delivery(type_, data, MAIL_SCHEME + target, is_test=is_test)
    endpoint = session.get(WebhookEndpoint, target)
    if endpoint is None:
        return None  # no rule lets go of an endpoint but by hand, in the database
    return make_delivery(
        type_,
        data,
        endpoint.url,
        owner_id=endpoint.owner_id,
        endpoint_id=endpoint.id,
        is_test=is_test,
    )
