"""The stream that tells an open page that something changed."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator

from flask import Blueprint, Response, current_app, request
from flask.blueprints import BlueprintSetupState

from app.core.changes import ChangeFeed, Viewer
from app.core.settings import Settings

blueprint = Blueprint("changes", __name__)

_TICK_SECONDS = 1.0  # how soon a stream notices that its reader left or the process stops
_COMMENT_SECONDS = 15.0
_MAX_AGE_SECONDS = 600.0  # the page connects anew, and who it is gets checked anew


@blueprint.record_once
def _make_feed(setup: BlueprintSetupState) -> None:
    settings: Settings = setup.app.extensions["stoker"]
    url = setup.app.config["SQLALCHEMY_DATABASE_URI"].replace("+psycopg", "", 1)
    setup.app.extensions["changes"] = ChangeFeed(url, settings.stream_limit)


@blueprint.get("/changes")
def stream() -> Response:
    """Server-Sent Events: `changed` now and whenever something changed, at most once a second."""
    feed: ChangeFeed = current_app.extensions["changes"]
    viewer = feed.join()
    client = request.environ.get("gunicorn.socket") or request.environ.get("werkzeug.socket")
    response = Response(_events(feed, viewer, client), mimetype="text/event-stream")
    response.headers["X-Accel-Buffering"] = "no"
    response.call_on_close(lambda: feed.leave(viewer))
    return response


def _events(feed: ChangeFeed, viewer: Viewer, client: socket.socket | None) -> Iterator[str]:
    ends_at = time.monotonic() + _MAX_AGE_SECONDS
    comment_at = 0.0
    while not feed.is_ended and time.monotonic() < ends_at and not _has_left(client):
        if viewer.wait(_TICK_SECONDS):
            yield "event: changed\ndata:\n\n"
        elif time.monotonic() >= comment_at:
            yield ": still here\n\n"
        else:
            continue
        comment_at = time.monotonic() + _COMMENT_SECONDS


def _has_left(client: socket.socket | None) -> bool:
    """Whether the reader closed the connection: its place is free at once, not in 15 s."""
    if client is None:
        return False
    try:
        poll = select.poll()  # select itself knows no descriptor beyond 1024
        poll.register(client, select.POLLIN)
        return bool(poll.poll(0)) and not client.recv(1, socket.MSG_PEEK)
    except OSError:
        return True
