"""`flask doctor`: looks at everything that may be wrong, and says what to do about it."""

from __future__ import annotations

import json

import click
from flask.cli import with_appcontext
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.cli.output import as_json_option
from app.core import checkup
from app.core.kept import kept_variables
from app.extensions import current_settings

_STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red"}


@click.command("doctor")
@as_json_option
@with_appcontext
def doctor_command(as_json: bool) -> None:
    """Check the installation and the database; exit 1 when something has failed."""
    settings = current_settings()
    url = settings.database_url or kept_variables(settings.var_path).get("DATABASE_URL")
    found = list(checkup.examine(settings, url))
    if as_json:
        rows = [
            {
                "check": name,
                "status": finding.status,
                "finding": finding.said,
                "remedy": finding.remedy,
            }
            for name, finding in found
        ]
        click.echo(json.dumps(rows))
    else:
        table = Table("check", "status", "finding")
        for name, finding in found:
            said = Text(finding.said)
            if finding.remedy:
                said.append(f"\n→ {finding.remedy}", style="bold")
            table.add_row(name, Text(finding.status, style=_STYLES[finding.status]), said)
        Console(highlight=False).print(table)
    failed = [name for name, finding in found if finding.status == "failed"]
    if failed:
        raise click.ClickException(f"Not all is well: {', '.join(failed)}.")
