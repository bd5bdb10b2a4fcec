"""`flask alerts`: the rules by which operators are told, and what they were told."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click

from app.cli.output import CommandGroup, as_json_option, show
from app.core import alert_rules, alerts, delivery_tests
from app.core.alert_figures import KINDS
from app.core.alert_words import amount
from app.core.models import AlertRule
from app.extensions import current_settings, db

alerts_group = CommandGroup("alerts", help="The rules by which operators are told.")

_ACTOR = "command line"
_RULES = (
    "name",
    "kind",
    "limit",
    "queue",
    "task",
    "targets",
    "cooldown_seconds",
    "is_enabled",
    "is_open",
    "silenced_until",
    "last_told_at",
)
_HISTORY = ("id", "rule", "text", "since", "opened_at", "resolved_at", "told_at")
_RESULTS = ("target", "is_delivered", "status_code", "error")

Command = TypeVar("Command", bound=Callable[..., Any])


def _options(command: Command) -> Command:
    """What a rule may say, for those who make one and those who change one."""
    for option in (
        click.option("--cooldown", "cooldown_seconds", type=int, help="Seconds of rest."),
        click.option("--task", help="Watch this task only."),
        click.option("--queue", help="Watch this queue only."),
        click.option("--fewest-jobs", type=int, help="A rate is known from so many jobs on."),
        click.option("--window", "window_seconds", type=int, help="Seconds that are looked at."),
        click.option("--limit", "threshold", type=float, help="In the kind's unit."),
        click.option("--to", "targets", multiple=True, help="E-mail address or endpoint's id."),
    ):
        command = option(command)
    return command


@alerts_group.command("list")
@as_json_option
def list_command(as_json: bool) -> None:
    """All rules, and which of them are past their limit."""
    session = db.session()
    open_alerts = alerts.open_alerts(session)
    rows = []
    for rule in alert_rules.list_rules(session):
        row = {name: getattr(rule, name) for name in _RULES if name not in ("limit", "is_open")}
        limit = amount(rule.threshold, KINDS[rule.kind].unit)
        row |= {"is_open": rule.id in open_alerts, "limit": rule.threshold if as_json else limit}
        rows.append(row)
    show(rows, _RULES, as_json=as_json)


@alerts_group.command("create")
@click.argument("name")
@click.argument("kind", type=click.Choice(list(KINDS)))
@_options
@as_json_option
def create_command(name: str, kind: str, as_json: bool, **given: Any) -> None:
    """Make the rule NAME of kind KIND."""
    session = db.session()
    rule = alert_rules.create(session, _ACTOR, {"name": name, "kind": kind, **_wanted(given)})
    session.commit()
    _say(rule, f"{rule.name} is watched.", as_json)


@alerts_group.command("change")
@click.argument("name")
@click.option("--name", "new_name", help="Call it so from now on.")
@_options
@click.option("--enable/--disable", "is_enabled", default=None, help="Watch it, or do not.")
@as_json_option
def change_command(name: str, new_name: str | None, as_json: bool, **given: Any) -> None:
    """Change the rule NAME. An empty --queue or --task watches any."""
    wanted = _wanted(given)
    if new_name is not None:
        wanted["name"] = new_name
    session = db.session()
    rule = alert_rules.change(session, alert_rules.find(session, name), _ACTOR, wanted)
    session.commit()
    _say(rule, f"{rule.name} is changed.", as_json)


@alerts_group.command("delete")
@click.argument("name")
@as_json_option
def delete_command(name: str, as_json: bool) -> None:
    """Delete the rule NAME; its alerts stay in the history."""
    session = db.session()
    rule = alert_rules.find(session, name)
    alert_rules.remove(session, rule, _ACTOR)
    session.commit()
    _say(rule, f"{name} is deleted.", as_json)


@alerts_group.command("test")
@click.argument("name")
@as_json_option
def test_command(name: str, as_json: bool) -> None:
    """Send a test message to each target of NAME. Exits with 1 unless all were delivered."""
    session, settings = db.session(), current_settings()
    messages = alerts.test_messages(session, settings, alert_rules.find(session, name))
    sent = delivery_tests.send(session, list(messages.values()), settings.worker_stale_seconds)
    rows = [
        {
            "target": target,
            "is_delivered": each.delivered_at is not None,
            "status_code": each.last_status_code,
            "error": each.last_error,
        }
        for target, each in zip(messages, sent, strict=True)
    ]
    show(rows, _RESULTS, as_json=as_json)
    if not all(row["is_delivered"] for row in rows):
        raise SystemExit(1)


@alerts_group.command("silence")
@click.argument("name")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True, max=527_040))
@click.option("--reason", help="Why; the API and the list show it.")
@click.option("--end", "is_end", is_flag=True, help="End the silence.")
@as_json_option
def silence_command(
    name: str, minutes: float | None, reason: str | None, is_end: bool, as_json: bool
) -> None:
    """Tell nothing of NAME for some minutes; what is still so afterwards is told then."""
    session = db.session()
    rule = alert_rules.find(session, name)
    if is_end:
        alert_rules.end_silence(session, rule, _ACTOR)
        words = f"{name} is told again."
    elif minutes is None or not reason:
        raise click.UsageError("A silence needs --minutes and --reason, or --end.")
    else:
        until = datetime.now(UTC) + timedelta(minutes=minutes)
        alert_rules.silence(session, rule, _ACTOR, until=until, reason=reason)
        words = f"{name} is silent until {until:%Y-%m-%d %H:%M:%S} UTC."
    session.commit()
    _say(rule, words, as_json)


@alerts_group.command("history")
@click.option("--rule", "name", help="Of this rule only.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@as_json_option
def history_command(name: str | None, limit: int, as_json: bool) -> None:
    """When which figure was past its limit, newest first."""
    session = db.session()
    rule_id = None if name is None else alert_rules.find(session, name).id
    found, _ = alerts.list_alerts(session, rule_id=rule_id, limit=limit, offset=0)
    rows = [
        {
            **{column: getattr(each, column) for column in _HISTORY if column != "rule"},
            "rule": each.rule_name,
        }
        for each in found
    ]
    show(rows, _HISTORY, as_json=as_json)


def _wanted(given: dict[str, Any]) -> dict[str, Any]:
    """Without what was not said; an empty text says: none."""
    said = {name: value for name, value in given.items() if value is not None and value != ()}
    for name in ("queue", "task"):
        if name in said:
            said[name] = said[name] or None
    if "targets" in said:
        said["targets"] = list(said["targets"])
    return said


def _say(rule: AlertRule, words: str, as_json: bool) -> None:
    click.echo(json.dumps({"id": str(rule.id), "name": rule.name}) if as_json else words)
