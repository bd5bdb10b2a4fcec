"""`flask backup`: dumps of the database, made, listed and restored."""

from __future__ import annotations

import json

import click

from app.cli import completion
from app.cli.output import CommandGroup, as_json_option, show
from app.core import backups, embedded
from app.core.kept import kept_variables
from app.core.settings import Settings
from app.extensions import current_settings

backup_group = CommandGroup("backup", help="Dumps of the database.")


def _database_url(settings: Settings) -> str:
    url = settings.database_url or kept_variables(settings.var_path).get("DATABASE_URL")
    if not url:
        raise click.ClickException(
            "No database is named: set DATABASE_URL, or start the embedded server with `flask up`."
        )
    return url


@backup_group.command("create")
@click.option("--keep", type=click.IntRange(1, 1000), help="How many backups stay.")
@click.option("--with-files", is_flag=True, help="Back up the files' bytes, too.")
@as_json_option
def create_command(keep: int | None, with_files: bool, as_json: bool) -> None:
    """Dump the database now, in this process."""
    settings = current_settings()
    made, removed = backups.create(
        settings, _database_url(settings), keep=keep, with_files=with_files
    )
    if as_json:
        described = {"name": made.name, "path": str(made.path), "bytes": made.bytes}
        click.echo(json.dumps({**described, "removed": removed}))
        return
    click.echo(f"Wrote {made.path} ({made.bytes:,} bytes).")
    for name in removed:
        click.echo(f"Removed {name}.")


@backup_group.command("list")
@as_json_option
def list_command(as_json: bool) -> None:
    """The backups in the data folder, newest first."""
    rows = [
        {
            "name": backup.name,
            "created_at": backup.created_at,
            "bytes": backup.bytes,
            "has_files": backup.has_files,
        }
        for backup in backups.list_backups(current_settings())
    ]
    show(rows, ("name", "created_at", "bytes", "has_files"), as_json=as_json)


@backup_group.command("restore")
@click.argument("file", shell_complete=completion.backup_names)
def restore_command(file: str) -> None:
    """Load the backup FILE (a name from the list, or a path) into an empty database.

    Without a DATABASE_URL, and with Stoker stopped, it is the embedded server's.
    """
    settings = current_settings()
    backup = backups.find(settings, file)
    base = settings.var_path / "postgres"
    if settings.database_url or embedded.is_running(base):
        backups.restore(settings, _database_url(settings), backup)
    else:
        url = embedded.start(base)
        try:
            backups.restore(settings, url, backup)
        finally:
            embedded.stop(base)
    click.echo(f"Restored {backup.name}. Start Stoker on this database: what ran goes on.")
