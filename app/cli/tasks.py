"""`flask tasks`: run a built-in task from a shell, and see it through."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from sqlalchemy.orm import Session

from app.cli import completion
from app.cli.output import CommandGroup, as_json_option, follow, show
from app.core import files, tasks, users
from app.core.defer import defer, read_terms
from app.core.storage import Draft
from app.extensions import current_settings, db

tasks_group = CommandGroup("tasks", help="The built-in tasks.")

_WAIT = re.compile(r"(\d{1,6})([smhd])")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@tasks_group.command("list")
@as_json_option
def list_command(as_json: bool) -> None:
    """The tasks that can be run, and what they take."""
    rows = [
        {
            "name": spec.name,
            "description": spec.description,
            "queue": spec.queue,
            "arguments": list(spec.arguments.model_fields),
        }
        for spec in tasks.TASKS.values()
        if spec.is_deferrable
    ]
    show(rows, ("name", "description", "queue", "arguments"), as_json=as_json)


@tasks_group.command("run")
@click.argument("name", shell_complete=completion.task_names)
@click.argument("pairs", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--user", "user_name", default="admin", show_default=True, help="Whose job it is.")
@click.option(
    "--file",
    "path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Upload this file and give its id as file_id.",
)
@click.option(
    "--at", metavar="TIME", help="Not before this time (ISO 8601; UTC without an offset)."
)
@click.option(
    "--in", "wait", metavar="TIME", help="Not before so long has passed: 90s, 10m, 2h, 1d."
)
@click.option("--priority", type=int, help="Higher ones run first; 0 without it.")
@click.option("--lock", help="Never at the same time as another job with this lock.")
@click.option("--timeout", "timeout_seconds", type=float, help="Seconds that an attempt may take.")
@click.option(
    "--depends-on", multiple=True, metavar="JOB", help="After this job; repeat for several."
)
@click.option("--idempotency-key", help="The same again under this key makes no second job.")
@click.option("--watch", is_flag=True, help="Show its progress until it has ended.")
@as_json_option
def run_command(
    name: str,
    pairs: tuple[str, ...],
    user_name: str,
    path: Path | None,
    at: str | None,
    wait: str | None,
    priority: int | None,
    lock: str | None,
    timeout_seconds: float | None,
    depends_on: tuple[str, ...],
    idempotency_key: str | None,
    watch: bool,
    as_json: bool,
) -> None:
    """Defer the task NAME; exit 1 when it was watched and did not complete."""
    if idempotency_key is not None and (wait is not None or path is not None):
        raise click.UsageError(
            "--in and --file are other words each time: with a key say --at, or file_id=."
        )
    given = {
        "schedule_at": _moment(at, wait),
        "priority": priority,
        "lock": lock,
        "timeout_seconds": timeout_seconds,
        "depends_on": depends_on,
        "idempotency_key": idempotency_key,
    }
    terms = read_terms({name: value for name, value in given.items() if value is not None})
    session = db.session()
    users.ensure_admin(session)
    user = users.get(session, user_name)
    arguments = dict(pair(text) for text in pairs)
    if path is not None:
        arguments["file_id"] = _upload(session, user.id, path)
    deferred = defer(
        session,
        name,
        arguments,
        users.actor_of(user),
        terms,
        settings=current_settings(),
    )
    session.commit()
    job_id = deferred.job_id
    if not watch:
        said = "is deferred" if deferred.is_new else "was deferred before, under this key"
        click.echo(json.dumps({"job_id": job_id}) if as_json else f"Job {job_id} {said}.")
        return
    job = follow(session, job_id, is_quiet=as_json)
    if as_json:
        described = {"job_id": job.id, "status": job.status, "result": job.result}
        click.echo(json.dumps({**described, "error": job.error_message}))
    elif job.result is not None:
        click.echo(json.dumps(job.result, indent=2))
    if job.status != "completed":
        raise click.ClickException(
            f"Job {job.id} {job.status}: {job.error_message or 'no error was recorded'}"
            if job.status == "failed"
            else f"Job {job.id} was {job.status}."
        )


def _moment(at: str | None, wait: str | None) -> datetime | None:
    """When `--at` or `--in` says."""
    if at is not None and wait is not None:
        raise click.UsageError("Give --at or --in, not both.")
    if wait is not None:
        match = _WAIT.fullmatch(wait)
        if match is None:
            raise click.BadParameter(f"{wait!r} is no time like 90s, 10m, 2h or 1d.")
        return datetime.now(UTC) + timedelta(seconds=int(match[1]) * _UNIT_SECONDS[match[2]])
    if at is None:
        return None
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        raise click.BadParameter(f"{at!r} is no time like 2026-07-01T08:00.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def pair(text: str) -> tuple[str, Any]:
    """`key=value`; a list is written as JSON, everything else as it is."""
    key, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter(f"{text!r} is no KEY=VALUE.")
    if not value.startswith("["):
        return key, value
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        raise click.BadParameter(f"{key} is no list in JSON.") from None


def _upload(session: Session, owner_id: int, path: Path) -> str:
    settings = current_settings()
    with Draft(settings) as draft, open(path, "rb") as source:
        while part := source.read(1024**2):
            draft.write(part)
        file = files.create(
            session,
            settings,
            draft,
            owner_id=owner_id,
            purpose="user_data",
            filename=path.name,
            expires_after_seconds=files.SHORTEST_EXPIRY_SECONDS * 24,
        )
    return file.id
