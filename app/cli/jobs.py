"""`flask jobs`: jobs of any kind from a shell, and what may be done to them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click
from sqlalchemy import Connection
from sqlalchemy.orm import Session

from app.cli.output import CommandGroup, as_json_option, follow, plain, printable, show
from app.core import (
    job_actions,
    job_bulk,
    job_moves,
    job_record,
    job_retries,
    job_search,
    result_files,
    search_conditions,
    tasks,
    users,
)
from app.core.acting import Done
from app.core.job_lists import Wanted
from app.core.job_moves import MOST_PRIORITY
from app.core.log_horizon import LogHorizon
from app.core.search_conditions import Filters
from app.core.status import API, shown
from app.core.tasks import BulkFilter
from app.core.users import Actor
from app.core.watch import PAGE_LINES, read_page
from app.core.watched_job import LEVELS, Line, get_state, is_at_least
from app.extensions import current_settings, db

jobs_group = CommandGroup("jobs", help="Jobs of any kind.")

_COLUMNS = ("id", "type", "status", "progress", "user", "created_at", "ended_at", "error")
_LOOK_SECONDS = 0.5

_job_argument = click.argument("job_id")
_user_option = click.option(
    "--user", "user_name", default="admin", show_default=True, help="With whose rights."
)


def _filter_options(command: Any) -> Any:
    for option in (
        click.argument("query", nargs=-1, metavar="[QUERY]..."),
        click.option("--status", help="Statuses, with commas."),
        click.option("--type", "job_type", help="The task's name."),
        click.option("--queue", help="The queue's name."),
    ):
        command = option(command)
    return command


@jobs_group.command("list", context_settings={"ignore_unknown_options": True})
@_filter_options
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@as_json_option
def list_command(
    query: tuple[str, ...],
    status: str | None,
    job_type: str | None,
    queue: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """The newest jobs, or those that a search finds (`type:export error:"disk full"`)."""
    search = search_conditions.read(
        " ".join(query),
        Filters(statuses=API.read_list(status), job_type=job_type, queue=queue),
        owner_name=None,
        dialect=API,
    )
    page = job_search.find(db.session(), search, Wanted(limit=limit)).page
    show([_row(job) for job in page.jobs], _COLUMNS, as_json=as_json)


@jobs_group.command("show")
@_job_argument
@as_json_option
def show_command(job_id: str, as_json: bool) -> None:
    """One job: where it stands, what it was asked, and what became of it."""
    session = db.session()
    job = job_record.get(session, job_id, None)
    columns = (
        *(name for name in _COLUMNS if name != "error"),
        *("queue", "priority", "message", "attempts", "worker_name", "scheduled_at"),
        *("started_at", "cancel_requested_at", "abort_requested_at", "cancel_acknowledged_at"),
        *("retried_from", "arguments", "result", "error"),
    )
    found = {name: getattr(job, name, None) for name in columns} | _row(job)
    told = [
        {"at": each.at, "from": each.from_status, "to": each.to_status,
         "by": each.triggered_by, "details": each.details}
        for each in job_record.list_transitions(session, job)
    ]  # fmt: skip
    if as_json:
        history = [{name: plain(value) for name, value in each.items()} for each in told]
        values = {name: plain(found[name]) for name in columns}
        click.echo(json.dumps({**values, "history": history}))
        return
    show([{"field": n, "value": found[n]} for n in columns], ("field", "value"), as_json=False)
    show(told, ("at", "from", "to", "by", "details"), as_json=False)


def _simple(name: str, act: Callable[[Session, str, Actor], Done], words: str) -> None:
    """A command that only needs the job's id."""

    @jobs_group.command(name, help=words)
    @_job_argument
    @_user_option
    @as_json_option
    def command(job_id: str, user_name: str, as_json: bool) -> None:
        session = db.session()
        done = act(session, job_id, _actor(session, user_name))
        session.commit()
        result_files.remove(current_settings(), done.files)
        _tell(done, as_json=as_json)


_simple(
    "cancel",
    job_actions.cancel,
    "End a waiting job at once, a running one after its current operation.",
)
_simple("abort", job_actions.abort, "Stop a running job at once, by force if it must be.")
_simple(
    "delete",
    job_actions.delete,
    "Cancel a waiting job, abort a running one, remove one that has ended.",
)
_simple("expedite", job_moves.expedite, "Make a waiting job due now, and the first of its queue.")


@jobs_group.command("retry")
@_job_argument
@click.option("--args", "arguments", help="Other arguments, as a JSON object.")
@click.option("--at", "moment", help="When it is due: a time with its offset.")
@_user_option
@as_json_option
def retry_command(
    job_id: str, arguments: str | None, moment: str | None, user_name: str, as_json: bool
) -> None:
    """Make a new job like one that has ended."""
    session = db.session()
    made = job_retries.retry(
        session,
        current_settings(),
        job_id,
        _actor(session, user_name),
        arguments=None if arguments is None else _object(arguments),
        schedule_at=None if moment is None else _moment(moment),
    )
    session.commit()
    said = {"job_id": made.job_id, "retried_from": made.retried_from}
    words = f"Job {made.job_id} retries job {made.retried_from}."
    click.echo(json.dumps(said) if as_json else words)


@jobs_group.command("reschedule")
@_job_argument
@click.argument("moment", metavar="TIME")
@_user_option
@as_json_option
def reschedule_command(job_id: str, moment: str, user_name: str, as_json: bool) -> None:
    """Have a waiting job run no earlier than at TIME, such as 2027-01-31T09:30:00Z."""
    session = db.session()
    actor = _actor(session, user_name)
    done = job_moves.reschedule(session, job_id, actor, _moment(moment))
    session.commit()
    _tell(done, as_json=as_json)


@jobs_group.command("priority", context_settings={"ignore_unknown_options": True})
@_job_argument
@click.argument("priority", type=click.IntRange(-MOST_PRIORITY, MOST_PRIORITY))
@_user_option
@as_json_option
def priority_command(job_id: str, priority: int, user_name: str, as_json: bool) -> None:
    """Give a waiting job another PRIORITY; the higher one goes first."""
    session = db.session()
    actor = _actor(session, user_name)
    done = job_moves.set_priority(session, job_id, actor, priority)
    session.commit()
    _tell(done, as_json=as_json)


@jobs_group.command("bulk", context_settings={"ignore_unknown_options": True})
@click.argument("action", type=click.Choice(["cancel", "abort", "retry", "delete"]))
@_filter_options
@click.option("--dry-run", is_flag=True, help="Only say how many there are, and show some.")
@click.option("--watch", is_flag=True, help="Show the job's progress until it has ended.")
@_user_option
@as_json_option
def bulk_command(
    action: str,
    query: tuple[str, ...],
    status: str | None,
    job_type: str | None,
    queue: str | None,
    dry_run: bool,
    watch: bool,
    user_name: str,
    as_json: bool,
) -> None:
    """Do ACTION to all jobs that a search finds, by a job of the worker's."""
    session = db.session()
    actor = _actor(session, user_name)
    filters = {"q": " ".join(query) or None, "status": status, "job_type": job_type, "queue": queue}
    asked = tasks.read(BulkFilter, job_bulk.TASK, filters)
    if dry_run:
        found = job_bulk.preview(session, action, asked, actor)
        rows = [_row(job) for job in found.sample]
        if as_json:
            sample = [{name: plain(row[name]) for name in _COLUMNS} for row in rows]
            click.echo(json.dumps({"matching": found.matching, "sample": sample}))
            return
        show(rows, _COLUMNS, as_json=False)
        click.echo(f"{'' if found.is_exact else 'At least '}{found.matching} jobs match.")
        return
    job_id = job_bulk.start(session, action, asked, actor)
    session.commit()
    if not watch:
        click.echo(json.dumps({"job_id": job_id}) if as_json else f"Job {job_id} does it.")
        return
    job = follow(session, job_id, is_quiet=as_json)
    described = {"job_id": job_id, "status": job.status, "result": job.result}
    click.echo(json.dumps(described) if as_json else json.dumps(job.result, indent=2))
    if job.status != "completed":
        raise click.ClickException(f"Job {job_id} is {job.status}.")


@jobs_group.command("logs")
@_job_argument
@click.option("-f", "--follow", "is_followed", is_flag=True, help="Until the job has ended.")
@click.option("--level", type=click.Choice(LEVELS), help="The least level.")
@as_json_option
def logs_command(job_id: str, is_followed: bool, level: str | None, as_json: bool) -> None:
    """What a job logged, oldest first; as JSON an object a line."""
    get_state(db.session(), job_id, None)
    db.session.rollback()
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        horizon = LogHorizon()
        after = 0
        while True:
            # Looked at first: what it logs until then is there when the lines are read.
            state = get_state(db.session(), job_id, None)
            db.session.rollback()
            settled = horizon.look(connection)
            after = _print_lines(connection, state.id, after, settled or 0, level, as_json=as_json)
            is_whole = settled is not None and not horizon.is_behind
            if is_whole and (not is_followed or state.has_last_lines):
                return
            time.sleep(_LOOK_SECONDS if settled is not None else _LOOK_SECONDS / 10)


def _print_lines(
    connection: Connection, job_id: int, after: int, until: int, level: str | None, *, as_json: bool
) -> int:
    """Print the lines up to an id; returns the id from which to go on."""
    while until > after:
        lines = read_page(connection, job_id, after, until)
        for line in lines:
            if is_at_least(line, level):
                click.echo(_line(line, as_json=as_json))
        if len(lines) < PAGE_LINES:
            return until
        after = lines[-1].id
    return after


def _line(line: Line, *, as_json: bool) -> str:
    if not as_json:
        return printable(f"{line.at:%Y-%m-%d %H:%M:%S} {line.level:<8} {line.message}")
    said = {"timestamp": line.at.isoformat(), "level": line.level, "message": line.message}
    return json.dumps({**said, "context": line.context, "attempt_number": line.attempt_number})


def _row(job: Any) -> dict[str, Any]:
    return {
        "id": job.id,
        "type": job.task,
        "status": shown(job.status, job.scheduled_at, datetime.now(UTC)),
        "progress": job.progress,
        "user": job.owner_name,
        "created_at": job.created_at,
        "ended_at": job.ended_at,
        "error": job.error_message,
    }


def _actor(session: Session, name: str) -> Actor:
    users.ensure_admin(session)
    return users.actor_of(users.get(session, name))


def _tell(done: Done, *, as_json: bool) -> None:
    if as_json:
        said = {"job_id": done.job_id, "status": done.status, "message": done.message}
        click.echo(json.dumps({**said, "warning": done.warning}))
        return
    click.echo(" ".join(filter(None, (done.message, done.warning))))


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise click.BadParameter("it is no JSON object.", param_hint="--args")
    return found


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise click.BadParameter(f"{text!r} is no time: write 2027-01-31T09:30:00Z.") from None
