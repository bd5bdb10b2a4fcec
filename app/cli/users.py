"""`flask users`: who may sign in."""

from __future__ import annotations

import json

import click

from app.cli import completion
from app.cli.output import CommandGroup, as_json_option, show
from app.cli.up.preflight import is_running
from app.core import sessions, users
from app.core.kept import kept_variables
from app.core.settings import Settings
from app.extensions import current_settings, db

users_group = CommandGroup("users", help="Who may sign in.")

_ACTOR = "command line"


@users_group.command("list")
@as_json_option
def list_command(as_json: bool) -> None:
    """All users."""
    columns = ("id", "name", "role", "created_at", "disabled_at")
    found = users.list_users(db.session())
    rows = [{name: getattr(user, name) for name in columns} for user in found]
    show(rows, columns, as_json=as_json)


@users_group.command("create")
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(users.ROLES),
    default="user",
    show_default=True,
    help="What the user may do.",
)
@as_json_option
def create_command(name: str, role: str, as_json: bool) -> None:
    """Make a user called NAME; `flask users link NAME` lets the browser in."""
    session = db.session()
    made = users.create(session, name, role, _ACTOR)
    session.commit()
    created = {"id": made.id, "name": name, "role": role}
    click.echo(json.dumps(created) if as_json else f"{name} is a new {role}.")


@users_group.command("role")
@click.argument("name", shell_complete=completion.user_names)
@click.argument("role", type=click.Choice(users.ROLES))
def role_command(name: str, role: str) -> None:
    """Let NAME do from now on what ROLE may."""
    session = db.session()
    users.change_role(session, name, role, _ACTOR)
    session.commit()
    click.echo(f"{name} is {'an' if role[0] in 'ao' else 'a'} {role} now.")


@users_group.command("link")
@click.argument("name", default="admin", shell_complete=completion.user_names)
@click.option("--minutes", type=click.FloatRange(min=0.1, max=1440), help="How long it works.")
@as_json_option
def link_command(name: str, minutes: float | None, as_json: bool) -> None:
    """Print a link that signs NAME's browser in, once."""
    settings = current_settings()
    session = db.session()
    users.ensure_admin(session)  # where `flask up` never ran, this may be the first command
    user = users.get(session, name)
    token = sessions.create_sign_in_link(session, user, minutes or settings.sign_in_link_minutes)
    session.commit()
    url = f"{_base_url(settings)}/sign-in/{token}"
    click.echo(json.dumps({"user": name, "url": url}) if as_json else url)


@users_group.command("enable")
@click.argument("name", shell_complete=completion.user_names)
def enable_command(name: str) -> None:
    """Let NAME in again."""
    session = db.session()
    users.enable(session, name, _ACTOR)
    session.commit()
    click.echo(f"{name} is enabled.")


@users_group.command("disable")
@click.argument("name", shell_complete=completion.user_names)
def disable_command(name: str) -> None:
    """Shut NAME out: its keys stop working, its browsers are signed out."""
    session = db.session()
    users.disable(session, name, _ACTOR)
    session.commit()
    click.echo(f"{name} is disabled.")


def _base_url(settings: Settings) -> str:
    """Where people find the pages, if that is set; else where a running `flask up` says that it
    is, else where the settings put the web server."""
    if settings.public_url:
        return settings.public_url
    kept = kept_variables(settings.var_path).get("OPENAI_BASE_URL", "")
    if kept and is_running(settings.var_path):
        return kept.removesuffix("/v1") + settings.url_prefix
    host = (
        "localhost"
        if settings.host in ("127.0.0.1", "::1", "0.0.0.0")  # noqa: S104 - only compared
        else settings.host
    )
    return f"http://{host}:{settings.port}{settings.url_prefix}"
