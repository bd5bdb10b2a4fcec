"""What /api/alerts is asked and answers, field by field."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, WithJsonSchema

from app.api.openapi import Answer, Limit, Offset, Query
from app.api.schemas import PlainText
from app.core import alert_rules, reasons
from app.core.alert_figures import KINDS
from app.core.models import Alert, AlertRule


def _known(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"must be one of {', '.join(KINDS)}")
    return kind


KindName = Annotated[
    str, AfterValidator(_known), WithJsonSchema({"type": "string", "enum": list(KINDS)})
]
_Name = Annotated[PlainText, Field(min_length=1, max_length=200)]
_Target = Annotated[str, Field(min_length=1, max_length=254)]
_Targets = Annotated[list[_Target], Field(min_length=1, max_length=alert_rules.MOST_TARGETS)]
_Count = Annotated[int, Field(ge=0, le=alert_rules.MOST_FEWEST_JOBS)]
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

    # Only what was sent is read: the defaults stand for nothing.
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
    reason: Annotated[PlainText, Field(min_length=1, max_length=reasons.LONGEST)]


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


def rule_answer(rule: AlertRule, alert: Alert | None) -> Rule:
    """A rule with its open alert, if there is one."""
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


def alert_answer(alert: Alert) -> AlertRow:
    """A line of the history."""
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
