"""`flask keys`: the API keys that programs send."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import click

from app.cli.output import CommandGroup, as_json_option, show
from app.core import keys, users
from app.extensions import db

keys_group = CommandGroup("keys", help="The API keys that programs send.")

_ACTOR = "command line"


@keys_group.command("list")
@as_json_option
def list_command(as_json: bool) -> None:
    """All keys; never their secrets."""
    columns = (
        "id",
        "user",
        "name",
        "hint",
        "scopes",
        "created_at",
        "last_used_at",
        "expires_at",
        "revoked_at",
    )
    rows = [
        {
            **{name: getattr(key, name) for name in columns if name != "user"},
            "user": key.user.name,
        }
        for key in keys.list_keys(db.session())
    ]
    show(rows, columns, as_json=as_json)


@keys_group.command("create")
@click.argument("name")
@click.option("--user", "user_name", default="admin", show_default=True, help="Whose key it is.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(users.SCOPES),
    help="What it may do; repeat for several. Default: everything its user may.",
)
@click.option("--days", type=click.FloatRange(min=0, min_open=True), help="When it expires.")
@as_json_option
def create_command(
    name: str,
    user_name: str,
    scopes: tuple[str, ...],
    days: float | None,
    as_json: bool,
) -> None:
    """Make a key called NAME and print it, this once."""
    session = db.session()
    users.ensure_admin(session)  # where `flask up` never ran, this may be the first command
    key, plain = keys.create(
        session,
        users.get(session, user_name),
        name,
        scopes or users.SCOPES,
        expires_at=datetime.now(UTC) + timedelta(days=days) if days else None,
        actor=_ACTOR,
    )
    session.commit()
    click.echo(json.dumps({"id": key.id, "key": plain}) if as_json else plain)


@keys_group.command("revoke")
@click.argument("key_id", type=int)
def revoke_command(key_id: int) -> None:
    """End the key KEY_ID (see `flask keys list`); it is refused from the next request on."""
    session = db.session()
    keys.revoke(session, key_id, _ACTOR)
    session.commit()
    click.echo(f"Key {key_id} is revoked.")
