"""Alert rules: which figure is watched against which limit, and who is told; the caller commits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.core import audit, reasons
from app.core.addresses import is_mailbox
from app.core.alert_figures import KINDS
from app.core.errors import Conflict, Invalid, NotFound, Refused
from app.core.models import Alert, AlertRule, WebhookEndpoint

COOLDOWN_SECONDS = 900
LONGEST_WINDOW_SECONDS = 7 * 86400
MOST_TARGETS = 20
MOST_FEWEST_JOBS = 10**6

# What every look costs is bounded by their number.
_MOST_RULES = 200


def list_rules(session: Session) -> Sequence[AlertRule]:
    """All of them, by name."""
    return session.scalars(select(AlertRule).order_by(AlertRule.name)).all()


def get(session: Session, rule_id: int) -> AlertRule:
    """One rule. Raises NotFound."""
    rule = session.get(AlertRule, rule_id)
    if rule is None:
        raise NotFound(f"There is no alert rule {rule_id}.", param="rule_id")
    return rule


def find(session: Session, name: str) -> AlertRule:
    """The rule called `name`. Raises NotFound."""
    rule = session.scalar(select(AlertRule).where(AlertRule.name == name))
    if rule is None:
        raise NotFound(f"There is no alert rule '{name}'.")
    return rule


def create(session: Session, actor: str, wanted: dict[str, Any]) -> AlertRule:
    """A new rule; what `wanted` leaves out is as its kind has it.

    Raises Invalid, Refused, and Conflict when another has its name.
    """
    kind = KINDS.get(str(wanted.get("kind")))
    if kind is None:
        raise Invalid(f"kind must be one of {', '.join(KINDS)}.", param="kind")
    if (session.scalar(select(func.count()).select_from(AlertRule)) or 0) >= _MOST_RULES:
        raise Refused(f"There are {_MOST_RULES} alert rules at most; delete one first.")
    rule = AlertRule(
        created_by=actor,
        **{
            "threshold": kind.threshold,
            "window_seconds": kind.window_seconds,
            "fewest_jobs": kind.fewest_jobs,
            "cooldown_seconds": COOLDOWN_SECONDS,
            "queue": None,
            "task": None,
            **wanted,
        },
    )
    _check(session, rule)
    session.add(rule)
    _flush(session, rule.name)
    audit.record(session, actor, "alert_rule.create", str(rule.id), rule.name)
    return rule


def change(session: Session, rule: AlertRule, actor: str, wanted: dict[str, Any]) -> AlertRule:
    """Change what is given, all but the kind. Raises as `create`.

    What is disabled ends its open alert without a word.
    """
    changed = [name for name, value in wanted.items() if getattr(rule, name) != value]
    for name in changed:
        setattr(rule, name, wanted[name])
    with session.no_autoflush:
        _check(session, rule)
    if changed:
        _flush(session, rule.name)
        rule.updated_at = session.scalars(select(func.clock_timestamp())).one()
        audit.record(session, actor, "alert_rule.update", str(rule.id), ", ".join(sorted(changed)))
    if not rule.is_enabled:
        _end_silently(session, rule)
    return rule


def remove(session: Session, rule: AlertRule, actor: str) -> None:
    """Delete it; its alerts stay in the history."""
    _end_silently(session, rule)
    session.delete(rule)
    audit.record(session, actor, "alert_rule.delete", str(rule.id), rule.name)


def silence(
    session: Session, rule: AlertRule, actor: str, *, until: datetime, reason: str
) -> AlertRule:
    """Tell nothing of this rule until then; what is still so afterwards is told then.

    Raises Invalid (the reason), and Refused for a time that is over.
    """
    reason = reasons.read(reason, is_line=True)
    if until <= session.scalars(select(func.clock_timestamp())).one():
        raise Refused("A silence ends in the future.", param="until")
    rule.silenced_until, rule.silenced_by, rule.silence_reason = until, actor, reason
    audit.record(session, actor, "alert_rule.silence", str(rule.id), reason)
    return rule


def end_silence(session: Session, rule: AlertRule, actor: str) -> AlertRule:
    """Tell of it again."""
    rule.silenced_until = rule.silenced_by = rule.silence_reason = None
    audit.record(session, actor, "alert_rule.end_silence", str(rule.id))
    return rule


def _check(session: Session, rule: AlertRule) -> None:
    kind = KINDS[rule.kind]
    if not rule.name or rule.name != rule.name.strip() or not rule.name.isprintable():
        raise Invalid("name must be one line of text, without blanks around it.", param="name")
    if not math.isfinite(rule.threshold) or rule.threshold <= 0:
        raise Invalid("threshold must be more than 0.", param="threshold")
    if kind.unit == "share" and rule.threshold > 1:
        raise Invalid("threshold is a share, 1 at most.", param="threshold")
    if not kind.window_seconds:
        rule.window_seconds = 0
    elif not 1 <= rule.window_seconds <= LONGEST_WINDOW_SECONDS:
        raise Invalid(
            f"window_seconds must be from 1 to {LONGEST_WINDOW_SECONDS}.", param="window_seconds"
        )
    if not 0 <= rule.cooldown_seconds <= LONGEST_WINDOW_SECONDS:
        raise Invalid(
            f"cooldown_seconds must be from 0 to {LONGEST_WINDOW_SECONDS}.",
            param="cooldown_seconds",
        )
    if not 0 <= rule.fewest_jobs <= MOST_FEWEST_JOBS:
        raise Invalid(f"fewest_jobs must be from 0 to {MOST_FEWEST_JOBS}.", param="fewest_jobs")
    if rule.queue is not None and rule.task is not None:
        raise Refused("A rule watches one queue or one task, not both.", param="queue")
    if not kind.takes_filter and (rule.queue is not None or rule.task is not None):
        raise Refused(f"A rule of kind {rule.kind} watches no queue and no task.", param="queue")
    rule.targets = list(dict.fromkeys(rule.targets))
    if not 1 <= len(rule.targets) <= MOST_TARGETS:
        raise Invalid(f"A rule has 1 to {MOST_TARGETS} targets.", param="targets")
    for target in rule.targets:
        _check_target(session, target)


def _check_target(session: Session, target: str) -> None:
    if is_mailbox(target):
        return
    # Held until the commit: an endpoint that a rule tells can't be deleted.
    known = select(WebhookEndpoint.id).where(WebhookEndpoint.id == target)
    if "\0" in target or session.scalar(known.with_for_update(read=True)) is None:
        raise Refused(
            f"'{target}' is neither an e-mail address nor the id of a webhook endpoint.",
            param="targets",
        )


def _flush(session: Session, name: str) -> None:
    try:
        session.flush()
    except IntegrityError:
        session.rollback()
        raise Conflict(f"Another alert rule is called '{name}'.", param="name") from None


def _end_silently(session: Session, rule: AlertRule) -> None:
    session.execute(
        update(Alert)
        .where(
            Alert.rule_id == rule.id,
            Alert.resolved_at.is_(None) | Alert.resolved_told_at.is_(None),
        )
        .values(
            resolved_at=func.coalesce(Alert.resolved_at, func.clock_timestamp()),
            resolved_told_at=func.coalesce(Alert.resolved_told_at, func.clock_timestamp()),
        )
        .execution_options(synchronize_session=False)
    )
