"""`flask webhooks`: the endpoints that hear of events, and what they never heard."""

from __future__ import annotations

import json
from typing import Any

import click

from app.cli.output import CommandGroup, as_json_option, show
from app.core import dead_letters, delivery_tests, users, webhook_endpoints
from app.core.models import WebhookEndpoint
from app.core.webhooks import EVENT_TYPES
from app.extensions import current_settings, db

webhooks_group = CommandGroup("webhooks", help="The endpoints that hear of events.")

_ACTOR = "command line"
_MOST = 1000
_COLUMNS = ("id", "name", "owner", "url", "event_types", "hears_all", "created_at", "disabled_at")
_LETTERS = (
    "id",
    "event_type",
    "batch_id",
    "webhook_url",
    "error_message",
    "attempts",
    "last_attempt_at",
    "retried_at",
    "retry_success",
)


@webhooks_group.command("list")
@as_json_option
def list_command(as_json: bool) -> None:
    """All endpoints, newest first; never their secrets."""
    session = db.session()
    names = {user.id: user.name for user in users.list_users(session)}
    found, _ = webhook_endpoints.list_endpoints(session, None, after=None, limit=_MOST)
    rows = [
        {
            **{name: getattr(each, name) for name in _COLUMNS if name != "owner"},
            "owner": names[each.owner_id],
        }
        for each in found
    ]
    show(rows, _COLUMNS, as_json=as_json)


@webhooks_group.command("create")
@click.argument("name")
@click.argument("url")
@click.option(
    "--event",
    "event_types",
    multiple=True,
    required=True,
    type=click.Choice(EVENT_TYPES),
    help="What it hears of; repeat for several.",
)
@click.option("--all", "hears_all", is_flag=True, help="Hear of everybody's, not of its owner's.")
@click.option("--user", "user_name", default="admin", show_default=True, help="Whose it is.")
@as_json_option
def create_command(
    name: str,
    url: str,
    event_types: tuple[str, ...],
    hears_all: bool,
    user_name: str,
    as_json: bool,
) -> None:
    """Let URL hear of events under the name NAME, and print its id and its signing secret, this once."""
    session = db.session()
    users.ensure_admin(session)  # this may be the first command
    endpoint = webhook_endpoints.create(
        session,
        users.get(session, user_name),
        _ACTOR,
        name=name,
        url=url,
        event_types=event_types,
        hears_all=hears_all,
    )
    session.commit()
    _show_secret(endpoint, as_json)


@webhooks_group.command("delete")
@click.argument("endpoint_id")
@as_json_option
def delete_command(endpoint_id: str, as_json: bool) -> None:
    """Delete the endpoint ENDPOINT_ID with its deliveries."""
    session = db.session()
    webhook_endpoints.remove(session, _endpoint(endpoint_id), _ACTOR)
    session.commit()
    _say({"id": endpoint_id, "deleted": True}, f"{endpoint_id} is deleted.", as_json)


@webhooks_group.command("rotate")
@click.argument("endpoint_id")
@click.option("--keep-old", is_flag=True, help="Let the old secret sign too, for 24 hours.")
@as_json_option
def rotate_command(endpoint_id: str, keep_old: bool, as_json: bool) -> None:
    """Give ENDPOINT_ID a new signing secret and print it below the id, this once."""
    session = db.session()
    endpoint = webhook_endpoints.rotate_secret(
        session, _endpoint(endpoint_id), _ACTOR, keep_old=keep_old
    )
    session.commit()
    _show_secret(endpoint, as_json)


@webhooks_group.command("test")
@click.argument("endpoint_id")
@click.option(
    "--event",
    "event_type",
    default=EVENT_TYPES[0],
    show_default=True,
    type=click.Choice(EVENT_TYPES),
    help="The type of the made-up event.",
)
@as_json_option
def test_command(endpoint_id: str, event_type: str, as_json: bool) -> None:
    """Send ENDPOINT_ID a made-up event. Exits with 1 unless it was taken."""
    session = db.session()
    message = webhook_endpoints.sample(session, _endpoint(endpoint_id), event_type)
    (sent,) = delivery_tests.send(session, [message], current_settings().worker_stale_seconds)
    _say(
        {
            "id": endpoint_id,
            "event_type": event_type,
            "status_code": sent.last_status_code,
            "error": sent.last_error,
        },
        sent.last_error or f"Taken: HTTP {sent.last_status_code}.",
        as_json,
    )
    if sent.last_error:
        raise SystemExit(1)


@webhooks_group.command("dead-letters")
@click.option("--limit", type=click.IntRange(1, _MOST), default=50, show_default=True)
@click.option("--offset", type=click.IntRange(0), default=0, help="How many to pass over.")
@as_json_option
def dead_letters_command(limit: int, offset: int, as_json: bool) -> None:
    """What was given up, the latest first."""
    found, _ = dead_letters.list_letters(db.session(), None, limit=limit, offset=offset)
    rows = [
        {
            "id": each.id,
            "event_type": each.type,
            "batch_id": each.batch_id,
            "webhook_url": each.url,
            "error_message": each.last_error,
            "attempts": each.tries,
            "last_attempt_at": each.last_tried_at,
            "retried_at": each.retried_at,
            "retry_success": dead_letters.is_heard(each),
        }
        for each in found
    ]
    show(rows, _LETTERS, as_json=as_json)


@webhooks_group.command("retry")
@click.argument("letter_id")
@click.option("--force", is_flag=True, help="Send it again although it was heard since.")
@as_json_option
def retry_command(letter_id: str, force: bool, as_json: bool) -> None:
    """Have the dead letter LETTER_ID sent once more by the housekeeper."""
    session = db.session()
    dead_letters.retry(session, letter_id, None, _ACTOR, force=force)
    session.commit()
    _say({"id": letter_id, "status": "pending"}, f"{letter_id} is sent once more.", as_json)


def _endpoint(endpoint_id: str) -> WebhookEndpoint:
    return webhook_endpoints.get(db.session(), endpoint_id, None)


def _show_secret(endpoint: WebhookEndpoint, as_json: bool) -> None:
    content = {"id": endpoint.id, "signing_secret": endpoint.secret}
    _say(content, f"{endpoint.id}\n{endpoint.secret}", as_json)


def _say(content: dict[str, Any], words: str, as_json: bool) -> None:
    click.echo(json.dumps(content) if as_json else words)
