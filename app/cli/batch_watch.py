"""A batch watched from a shell, and what is said of its end."""

from __future__ import annotations

import json
import time
from typing import Any

import click
import psycopg
from rich.console import Console
from sqlalchemy import exc as sql
from sqlalchemy.orm import Session

from app.api.v1.objects import batch_object
from app.cli import progress
from app.cli.screen import Screen
from app.core import batches, queue
from app.core.models import Batch

_LOOK_SECONDS = 0.5
# What shells give a command that Ctrl-C ended.
_INTERRUPTED = 130


def describe(session: Session, batch: Batch) -> dict[str, Any]:
    """The batch as the API has it."""
    place = None if batches.is_final(batch) else queue.positions(session).get(batch.id)
    return batch_object(batch, place)


def watch(session: Session, batch_id: str, *, is_quiet: bool) -> dict[str, Any]:
    """Show its progress on standard error until it is final; an outage of the database is waited for.

    Ctrl-C ends the watching (exit 130), not the batch.
    """
    screen = Screen(Console(stderr=True, highlight=False, quiet=is_quiet))
    speed, seen_at = progress.Speed(), time.monotonic()
    try:
        with screen.step(f"Batch {batch_id}", "Ended") as step:
            while True:
                try:
                    session.rollback()
                    batch = describe(session, batches.get(session, batch_id, None))
                    seen_at = time.monotonic()
                except (sql.OperationalError, sql.InterfaceError, psycopg.OperationalError):
                    session.close()
                    if time.monotonic() > seen_at + progress.PATIENCE_SECONDS:
                        raise
                else:
                    progress.show(step, batch, speed, "Batch")
                    if batch["status"] in progress.FINAL:
                        return batch
                time.sleep(_LOOK_SECONDS)
    except KeyboardInterrupt:
        click.echo(
            f"The batch goes on: `flask batches show {batch_id} --watch` follows it again, "
            f"`flask batches cancel {batch_id}` stops it.",
            err=True,
        )
        raise click.exceptions.Exit(_INTERRUPTED) from None


def report(batch: dict[str, Any], *, as_json: bool) -> None:
    """Say how it ended; raises ClickException when it did not complete."""
    if as_json:
        click.echo(json.dumps(batch))
    counts = batch["request_counts"]
    if batch["status"] != "completed":
        errors = (batch["errors"] or {}).get("data") or [{}]
        why = f": {errors[0]['message']}" if errors[0].get("message") else "."
        raise click.ClickException(
            f"The batch {batch['id']} is {batch['status']}, with {counts['completed']:,} of "
            f"{counts['total']:,} requests answered{why}"
        )
    if as_json:
        return
    click.echo(
        f"Batch {batch['id']} is completed: {counts['completed']:,} of {counts['total']:,} requests "
        f"answered, {batch['usage']['total_tokens']:,} tokens."
    )
    if counts["completed"]:
        click.echo(f"`flask batches download {batch['id']}` gives the answers.")
    if counts["failed"]:
        click.echo(
            f"{counts['failed']:,} failed: `flask batches download {batch['id']} --errors` says why, "
            f"`flask batches retry-failed {batch['id']}` asks them again."
        )
