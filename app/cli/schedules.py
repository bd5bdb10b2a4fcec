"""`flask schedules`: what runs by the clock."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click
from pydantic import ValidationError
from sqlalchemy.orm import Session

from app.cli.output import CommandGroup, as_json_option, show
from app.cli.schedule_options import given, how, read, refusal, trigger_said, when
from app.core import schedules, users
from app.core.models import Schedule
from app.core.schedule_definitions import Changes, Definition, trigger_of
from app.core.schedule_times import TRIGGER, runs_after
from app.core.schedule_words import describe
from app.core.users import Actor
from app.extensions import current_settings, db

schedules_group = CommandGroup("schedules", help="What runs by the clock.")

_SHOWN_FIRINGS = 20
_FIRINGS = (
    "planned_at",
    "decided_at",
    "job_id",
    "job_status",
    "planned_runs",
    "asked_by",
    "reason",
)


@schedules_group.command("list")
@as_json_option
def list_command(as_json: bool) -> None:
    """All schedules, those that run next first; and Procrastinate's own periodic tasks."""
    session = db.session()
    rows = [_row(schedule) for schedule in schedules.list_schedules(session, None)]
    periodic = [
        {
            "id": f"{row.task} {row.periodic_id}".rstrip(),
            "name": "",
            "owner": "",
            "status": "periodic",
            "task": row.task,
            "text": f"last planned {row.planned_at:%Y-%m-%d %H:%M:%S} UTC",
            "next_run_at": None,
        }
        for row in schedules.list_periodic(session)
    ]
    columns = ("id", "name", "owner", "status", "task", "text", "next_run_at")
    show([*rows, *periodic], columns, as_json=as_json)


@schedules_group.command("show")
@click.argument("schedule_id")
@as_json_option
def show_command(schedule_id: str, as_json: bool) -> None:
    """The schedule SCHEDULE_ID, its next five runs and its latest 20 planned times."""
    session = db.session()
    schedule = schedules.get(session, schedule_id, None)
    firings = [
        {name: getattr(row, name) for name in _FIRINGS}
        for row in schedules.list_firings(session, schedule, before=None, limit=_SHOWN_FIRINGS)
    ]
    row = _row(schedule)
    if as_json:
        _echo_json({**row, "firings": firings})
        return
    for name, value in row.items():
        click.echo(f"{name.replace('_', ' ')}: {_told(value)}")
    if firings:
        show(firings, _FIRINGS, as_json=False)


@schedules_group.command("create")
@click.argument("name")
@click.argument("task")
@click.argument("pairs", nargs=-1, metavar="[KEY=VALUE]...")
@when
@how
@click.option("--user", "user_name", default="admin", show_default=True, help="Whose it is.")
@as_json_option
def create_command(
    name: str, task: str, pairs: tuple[str, ...], user_name: str, as_json: bool, **said: Any
) -> None:
    """Have TASK run by the clock, with these arguments, as the schedule NAME."""
    session = db.session()
    users.ensure_admin(session)
    actor = users.actor_of(users.get(session, user_name))
    definition = read(Definition, {"name": name, "task": task, **given(pairs, said)})
    most = current_settings().schedules_per_user
    made = schedules.create(session, definition, actor, most=most, now=datetime.now(UTC))
    session.commit()
    _tell(made, as_json=as_json)


@schedules_group.command("change")
@click.argument("schedule_id")
@click.argument("pairs", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--name", help="A new name.")
@click.option("--task", help="Another task.")
@when
@how
@as_json_option
def change_command(schedule_id: str, pairs: tuple[str, ...], as_json: bool, **said: Any) -> None:
    """Change what is given of the schedule SCHEDULE_ID; its arguments only as a whole."""
    session = db.session()
    changes = read(Changes, given(pairs, said))
    now = datetime.now(UTC)
    changed = schedules.change(session, schedule_id, changes, _operator(session), now=now)
    session.commit()
    _tell(changed, as_json=as_json)


@schedules_group.command("delete")
@click.argument("schedule_id")
@as_json_option
def delete_command(schedule_id: str, as_json: bool) -> None:
    """Remove the schedule SCHEDULE_ID and its history; its jobs stay."""
    session = db.session()
    schedules.delete(session, schedule_id, _operator(session))
    session.commit()
    _say(f"Schedule {schedule_id} is removed.", {"id": int(schedule_id)}, as_json=as_json)


@schedules_group.command("run")
@click.argument("schedule_id")
@as_json_option
def run_command(schedule_id: str, as_json: bool) -> None:
    """Run the schedule SCHEDULE_ID now, besides its planned times."""
    session = db.session()
    firing = schedules.run(
        session, schedule_id, _operator(session), now=datetime.now(UTC), settings=current_settings()
    )
    session.commit()
    _say(f"Job {firing.job_id} is deferred.", {"job_id": firing.job_id}, as_json=as_json)


@schedules_group.command("pause")
@click.argument("schedule_id")
@click.argument("reason")
@as_json_option
def pause_command(schedule_id: str, reason: str, as_json: bool) -> None:
    """Let the schedule SCHEDULE_ID not run until it is resumed; REASON is shown to all."""
    session = db.session()
    actor, now = _operator(session), datetime.now(UTC)
    paused = schedules.pause(session, schedule_id, actor, reason, now=now)
    session.commit()
    _tell(paused, as_json=as_json)


@schedules_group.command("resume")
@click.argument("schedule_id")
@as_json_option
def resume_command(schedule_id: str, as_json: bool) -> None:
    """Let the paused schedule SCHEDULE_ID run again."""
    session = db.session()
    resumed = schedules.resume(session, schedule_id, _operator(session), now=datetime.now(UTC))
    session.commit()
    _tell(resumed, as_json=as_json)


@schedules_group.command("preview")
@when
@as_json_option
def preview_command(as_json: bool, **said: Any) -> None:
    """What a schedule's times mean, and its next five runs; nothing is kept."""
    wanted = trigger_said(said)
    if wanted is None:
        raise click.UsageError("Give --cron, --every or --at.")
    try:
        trigger = TRIGGER.validate_python(wanted)
    except ValidationError as fault:
        raise refusal(fault) from None
    runs = runs_after(trigger, datetime.now(UTC))
    if as_json:
        _echo_json({"text": describe(trigger), "next_runs": runs})
        return
    click.echo(describe(trigger))
    for run in runs:
        click.echo(f"  {_told(run)}")


def _operator(session: Session) -> Actor:
    """Who has a shell may do everything."""
    admin = users.ensure_admin(session)
    return Actor(admin.id, "command line", frozenset(users.SCOPES))


def _row(schedule: Schedule) -> dict[str, Any]:
    runs = schedules.next_runs(schedule, datetime.now(UTC))
    return {
        "id": schedule.id,
        "name": schedule.name,
        "owner": schedule.owner.name,
        "status": schedules.status_of(schedule),
        "task": schedule.task,
        "args": schedule.arguments,
        "queue": schedule.queue,
        "priority": schedule.priority,
        "text": describe(trigger_of(schedule)),
        "next_run_at": runs[0] if runs else None,
        "next_runs": runs,
        "missed_policy": schedule.missed_policy,
        "missed_limit": schedule.missed_limit,
        "overlap_policy": schedule.overlap_policy,
        "jitter_seconds": schedule.jitter_seconds,
        "paused_at": schedule.paused_at,
        "paused_by": schedule.paused_by,
        "pause_reason": schedule.pause_reason,
    }


def _tell(schedule: Schedule, *, as_json: bool) -> None:
    row = _row(schedule)
    said = f"Schedule {row['id']} ({row['name']}) runs {row['task']} {row['text']}"
    match row["status"]:
        case "paused":
            said = f"Schedule {row['id']} ({row['name']}) is paused."
        case "ended":
            said = f"{said}; it has ended."
        case _:
            said = f"{said}; next {_told(row['next_run_at'])}."
    _say(said, row, as_json=as_json)


def _say(sentence: str, row: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        _echo_json(row)
    else:
        click.echo(sentence)


def _echo_json(content: Mapping[str, Any]) -> None:
    click.echo(json.dumps(content, default=datetime.isoformat))


def _told(value: Any) -> str:
    match value:
        case None:
            return "–"
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        case list():
            return ", ".join(_told(each) for each in value) or "–"
        case dict():
            return json.dumps(value)
        case _:
            return str(value)
