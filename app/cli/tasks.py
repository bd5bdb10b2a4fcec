"""`flask tasks`: run a built-in task from a shell, and see it through."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.cli.output import CommandGroup, as_json_option, show
from app.core import files, tasks, users
from app.core.models import JOB_FINAL, Job
from app.core.storage import Draft
from app.extensions import current_settings, db

tasks_group = CommandGroup("tasks", help="The built-in tasks.")

_LOOK_SECONDS = 0.5


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
@click.argument("name")
@click.argument("pairs", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--user", "user_name", default="admin", show_default=True, help="Whose job it is.")
@click.option(
    "--file",
    "path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Upload this file and give its id as file_id.",
)
@click.option("--watch", is_flag=True, help="Show its progress until it has ended.")
@as_json_option
def run_command(
    name: str,
    pairs: tuple[str, ...],
    user_name: str,
    path: Path | None,
    watch: bool,
    as_json: bool,
) -> None:
    """Defer the task NAME; exit 1 when it was watched and did not complete."""
    session = db.session()
    users.ensure_admin(session)
    user = users.get(session, user_name)
    arguments = dict(pair(text) for text in pairs)
    if path is not None:
        arguments["file_id"] = _upload(session, user.id, path)
    job_id = tasks.defer_task(
        session, name, arguments, users.actor_of(user), settings=current_settings()
    )
    session.commit()
    if not watch:
        click.echo(json.dumps({"job_id": job_id}) if as_json else f"Job {job_id} is deferred.")
        return
    job = _watch(session, job_id, is_quiet=as_json)
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


def _watch(session: Session, job_id: int, *, is_quiet: bool) -> Job:
    shown = ""
    while True:
        session.rollback()
        job = session.scalars(select(Job).where(Job.id == job_id)).one()
        line = f"{job.status} {job.progress}% {job.message or ''}".rstrip()
        if line != shown and not is_quiet:
            shown = line
            click.echo(line)
        if job.status in JOB_FINAL:
            return job
        time.sleep(_LOOK_SECONDS)
