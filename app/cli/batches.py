"""`flask batches`: submit a file of requests, follow it, take its answers away, cancel, retry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError
from sqlalchemy.orm import Session

from app.api.schemas import BatchBody, first_fault
from app.cli import completion
from app.cli.batch_download import download
from app.cli.batch_watch import describe, report, watch
from app.cli.output import CommandGroup, as_json_option, show, show_one
from app.core import audit, batches, files, model_lines, retries, storage, users
from app.core.engines import load_registry
from app.core.errors import Invalid, StokerError
from app.core.models import Batch
from app.extensions import current_settings, db

batches_group = CommandGroup("batches", help="Batches of requests.")

_ACTOR = "command line"
_id_argument = click.argument("batch_id", metavar="ID", shell_complete=completion.batch_ids)
_watch_option = click.option(
    "--watch", "is_watched", is_flag=True, help="Show its progress until it has ended."
)


@batches_group.command("submit")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--model",
    shell_complete=completion.model_names,
    help="The model of the lines that name none; a line that names another is refused.",
)
@click.option("--endpoint", help="Like /v1/chat/completions; by default the first line's url.")
@click.option("--window", default="24h", show_default=True, help="Completion window, 1h to 168h.")
@click.option("--priority", type=click.IntRange(-1, 1), default=0, show_default=True)
@click.option("--metadata", "pairs", multiple=True, metavar="KEY=VALUE", help="May be repeated.")
@click.option(
    "--user",
    "user_name",
    default="admin",
    show_default=True,
    shell_complete=completion.user_names,
    help="Whose batch it is.",
)
@_watch_option
@as_json_option
def submit_command(
    file: str,
    model: str | None,
    endpoint: str | None,
    window: str,
    priority: int,
    pairs: tuple[str, ...],
    user_name: str,
    is_watched: bool,
    as_json: bool,
) -> None:
    """Make a batch of FILE, JSON lines as the Batch API takes them (`-`: of standard input)."""
    session = db.session()
    users.ensure_admin(session)
    owner_id = users.get(session, user_name).id
    session.commit()  # an upload may take long
    settings = current_settings()
    if model is not None:
        load_registry(settings.models_path).get(model)
    size = 0 if file == "-" else Path(file).stat().st_size
    storage.check_room(settings, size)
    with (
        click.open_file(file, "rb") as source,
        storage.Draft(settings, max_bytes=settings.max_upload_bytes) as draft,
    ):
        copied = model_lines.copy(
            source, draft, model=model, max_line_bytes=settings.max_line_bytes
        )
        if not copied.lines:
            raise Invalid("There are no lines to make a batch of.")
        body = _body(
            input_file_id=draft.id,
            endpoint=endpoint or copied.endpoint,
            completion_window=window,
            priority=priority,
            metadata=dict(map(_pair, pairs)) or None,
        )
        load_registry(settings.models_path).require_served(body.endpoint, model)
        request = body.to_new_batch()
        request.window()
        files.create(
            session,
            settings,
            draft,
            owner_id=owner_id,
            purpose="batch",
            filename="stdin.jsonl" if file == "-" else Path(file).name,
        )
        try:
            batch = batches.create(session, owner_id, request, settings=settings)
        except StokerError:
            files.remove_bytes(settings, [draft.id])  # its row is not committed
            raise
        audit.record(session, _ACTOR, "batch.create", batch.id)
        session.commit()
    _told(session, batch, f"is submitted, with {copied.lines:,} lines", is_watched, as_json)


def _body(**fields: Any) -> BatchBody:
    if fields["endpoint"] is None:
        raise Invalid("No line names its url: say the endpoint by --endpoint.")
    try:
        return BatchBody(**fields)
    except ValidationError as fault:
        raise first_fault(fault) from None


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise click.BadParameter(f"{text!r} is no KEY=VALUE.", param_hint="--metadata")
    return key, value


def _told(session: Session, batch: Batch, what: str, is_watched: bool, as_json: bool) -> None:
    """Say what was done, and with --watch what becomes of it."""
    if is_watched:
        report(watch(session, batch.id, is_quiet=as_json), as_json=as_json)
    elif as_json:
        click.echo(json.dumps(describe(session, batch)))
    else:
        click.echo(f"Batch {batch.id} {what}: `flask batches show {batch.id} --watch` follows it.")


@batches_group.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@as_json_option
def list_command(limit: int, as_json: bool) -> None:
    """The newest batches."""
    session = db.session()
    found, _ = batches.list_batches(session, None, after=None, limit=limit)
    if as_json:
        click.echo(json.dumps([describe(session, batch) for batch in found]))
        return
    rows = [
        {
            "id": batch.id,
            "status": batch.status,
            "model": batch.model,
            "done": f"{batch.completed + batch.failed:,} of {batch.total:,}",
            "failed": batch.failed,
            "created_at": batch.created_at,
        }
        for batch in found
    ]
    columns = ("id", "status", "model", "done", "failed", "created_at")
    show(rows, columns, as_json=False)


@batches_group.command("show")
@_id_argument
@_watch_option
@as_json_option
def show_command(batch_id: str, is_watched: bool, as_json: bool) -> None:
    """One batch: where it stands, when, how much, and why it failed."""
    session = db.session()
    batch = batches.get(session, batch_id, None)
    if is_watched:
        report(watch(session, batch.id, is_quiet=as_json), as_json=as_json)
        return
    if as_json:
        click.echo(json.dumps(describe(session, batch)))
        return
    described = describe(session, batch)
    columns = ("model", "endpoint", "priority", "completion_window", "input_file_id")
    times = [name for name in described if name.endswith("_at")]
    show_one(
        {
            "id": batch.id,
            "status": batch.status,
            **{name: described[name] for name in columns},
            "requests": f"{batch.total:,}, {batch.completed:,} completed, {batch.failed:,} failed",
            "tokens": f"{batch.input_tokens:,} in, {batch.output_tokens:,} out",
            "queue_position": described["queue_position"],
            **{name: getattr(batch, name) for name in times},
            "output_file_id": batch.output_file_id,
            "error_file_id": batch.error_file_id,
            "retried_from": batch.retried_from,
            "metadata": json.dumps(batch.custom_metadata) if batch.custom_metadata else None,
        }
    )
    for error in batch.errors or []:
        line = f"line {error['line']}: " if error.get("line") else ""
        click.echo(f"{line}{error.get('message')}")


@batches_group.command("download")
@_id_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Into this file, not to standard output.",
)
@click.option("--errors", is_flag=True, help="What failed, not what was answered.")
@click.option(
    "--partial", is_flag=True, help="What there is so far, of a batch that has not ended."
)
@as_json_option
def download_command(
    batch_id: str, output: Path | None, errors: bool, partial: bool, as_json: bool
) -> None:
    """The answers (or errors) of a batch, a JSON object a line, in the order of its requests."""
    if as_json and output is None:
        raise click.UsageError("--json needs --output: the answers go to standard output else.")
    session = db.session()
    batch = batches.get(session, batch_id, None)
    done = download(session, current_settings(), batch, output, errors=errors, partial=partial)
    if as_json:
        click.echo(json.dumps(done))
    elif output is not None:
        click.echo(f"Wrote {done['lines']:,} lines into {output}.")


@batches_group.command("cancel")
@_id_argument
@as_json_option
def cancel_command(batch_id: str, as_json: bool) -> None:
    """Ask a batch to stop; what it has answered is kept."""
    session = db.session()
    batch = batches.cancel(session, batch_id, None)
    audit.record(session, _ACTOR, "batch.cancel", batch.id)
    session.commit()
    _told(session, batch, "is being cancelled", False, as_json)


@batches_group.command("retry-failed")
@_id_argument
@_watch_option
@as_json_option
def retry_failed_command(batch_id: str, is_watched: bool, as_json: bool) -> None:
    """Make a new batch of the requests of a batch that failed."""
    session = db.session()
    batch = retries.retry_failed(session, current_settings(), batch_id, None)
    audit.record(session, _ACTOR, "batch.retry_failed", batch.id, batch_id)
    session.commit()
    _told(session, batch, f"is submitted, with what failed of {batch_id}", is_watched, as_json)
