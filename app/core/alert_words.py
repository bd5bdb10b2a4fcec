"""What an alert says: the data of its event, whose `summary` and `text` an e-mail is made of."""

from __future__ import annotations

from datetime import datetime

from app.core.alert_figures import KINDS
from app.core.models import Alert, AlertRule

_UNITS = ("bytes", "KB", "MB", "GB", "TB")
_KILO = 1024.0


def sentence(rule: AlertRule, figure: float, named: str | None = None) -> str:
    """What is watched, the figure, the limit, and what it is about."""
    unit = KINDS[rule.kind].unit
    value, limit = amount(figure, unit), amount(rule.threshold, unit)
    about = f", {named}" if named else ""
    return f"{what(rule)}: {value}{about} (the limit is {limit})"


def opened(alert: Alert, public_url: str) -> dict[str, object]:
    """It is past its limit."""
    lines = [
        f"{alert.rule_name}: {alert.text}.",
        "",
        f"Since: {_moment(alert.since)}",
        f"Noticed: {_moment(alert.opened_at)}",
    ]
    return _data(alert, alert.figure, f"{alert.rule_name}: {alert.text}", lines, public_url)


def resolved(rule: AlertRule, alert: Alert, figure: float, public_url: str) -> dict[str, object]:
    """It is over."""
    assert alert.resolved_at is not None
    unit = KINDS[alert.kind].unit
    lasted = amount((alert.resolved_at - alert.since).total_seconds(), "seconds")
    lines = [
        f"{rule.name} is over. It was: {alert.text}.",
        "",
        f"Now: {amount(figure, unit)} (the limit is {amount(rule.threshold, unit)})",
        f"From: {_moment(alert.since)}",
        f"To: {_moment(alert.resolved_at)} ({lasted})",
    ]
    return _data(alert, figure, f"Resolved: {rule.name}", lines, public_url)


def test(rule: AlertRule, public_url: str) -> dict[str, object]:
    """Nothing has happened."""
    unit = KINDS[rule.kind].unit
    lines = [
        f"This is a test of the alert rule {rule.name}: nothing has happened.",
        "",
        f"It watches: {what(rule)}",
        f"Limit: {amount(rule.threshold, unit)}",
    ]
    return {
        "rule_id": str(rule.id),
        "rule": rule.name,
        "kind": rule.kind,
        "summary": f"Test: {rule.name}",
        "text": _text(lines, public_url),
        "threshold": rule.threshold,
        "unit": unit,
    }


def amount(value: float, unit: str) -> str:
    """A figure with its unit, for people: `1 h 5 min`, `12 %`, `3.2 GB`, `4 jobs`."""
    match unit:
        case "seconds":
            return _duration(value)
        case "share":
            return f"{100 * value:.3g} %"
        case "bytes":
            return _bytes(value)
        case _:
            return f"{value:g} {unit.removesuffix('s') if value == 1 else unit}"


def _data(
    alert: Alert, figure: float, summary: str, lines: list[str], public_url: str
) -> dict[str, object]:
    url = _link(alert, public_url)
    resolved_at = alert.resolved_at
    return {
        "id": str(alert.id),
        "rule_id": str(alert.rule_id),
        "rule": alert.rule_name,
        "kind": alert.kind,
        "summary": summary,
        "text": _text(lines, url),
        "figure": figure,
        "threshold": alert.threshold,
        "unit": KINDS[alert.kind].unit,
        "since": int(alert.since.timestamp()),
        "opened_at": int(alert.opened_at.timestamp()),
        "resolved_at": None if resolved_at is None else int(resolved_at.timestamp()),
        "job_id": None if alert.job_id is None else str(alert.job_id),
        "url": url or None,
    }


def _text(lines: list[str], url: str) -> str:
    return "\n".join([*lines, "", url] if url else lines)


def _link(alert: Alert, public_url: str) -> str:
    """The page of the job that shows it, else the start page; empty without a public URL."""
    if not public_url or alert.job_id is None:
        return public_url
    return f"{public_url}/jobs/{alert.job_id}"


def what(rule: AlertRule) -> str:
    """What a rule watches, in words, like: jobs in the queue q that failed within 5 min."""
    window = amount(rule.window_seconds, "seconds")
    return KINDS[rule.kind].words.format(of=_of(rule), window=window)


def _of(rule: AlertRule) -> str:
    if rule.queue is not None:
        return f" in the queue {rule.queue}"
    return "" if rule.task is None else f" of the task {rule.task}"


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _duration(seconds: float) -> str:
    whole = round(seconds)
    for large, small, size in (("d", "h", 86400), ("h", "min", 3600), ("min", "s", 60)):
        if whole >= size:
            rest = whole % size // {"h": 3600, "min": 60, "s": 1}[small]
            return f"{whole // size} {large}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"


def _bytes(value: float) -> str:
    for unit in _UNITS[:-1]:
        if value < _KILO:
            return f"{value:.3g} {unit}"
        value /= _KILO
    return f"{value:.3g} {_UNITS[-1]}"
