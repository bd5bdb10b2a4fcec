"""The stream that tells an open page that something changed."""

from __future__ import annotations

import time
from collections.abc import Iterator

from flask import Blueprint, Response, current_app, g
from flask.blueprints import BlueprintSetupState

from app.core.changes import ChangeFeed, Viewer
from app.core.settings import Settings
from app.event_stream import Reader, respond

blueprint = Blueprint("changes", __name__)

_TICK_SECONDS = 1.0  # how soon a stream notices that its reader left or the process stops
_BEAT_SECONDS = 2.0  # a page that hears nothing for longer says so: see static/live.js
_MAX_AGE_SECONDS = 600.0  # the page connects anew, and who it is gets checked anew


@blueprint.record_once
def _make_feed(setup: BlueprintSetupState) -> None:
    settings: Settings = setup.app.extensions["stoker"]
    url = setup.app.config["SQLALCHEMY_DATABASE_URI"].replace("+psycopg", "", 1)
    setup.app.extensions["changes"] = ChangeFeed(
        url, settings.stream_places, settings.stream_user_limit
    )


@blueprint.get("/changes")
def stream() -> Response:
    """Server-Sent Events: `changed` now and whenever something changed, at most once a second;
    else `beat`, so that a page can tell silence from a lost connection.

    The data of `changed` is when the page was told, as `told_at` in app.pages.fragments reads it back.
    """
    feed: ChangeFeed = current_app.extensions["changes"]
    viewer = feed.join(g.actor.user_id)
    reader = Reader()
    return respond(_events(feed, viewer, reader), lambda: feed.leave(viewer), reader)


def _events(feed: ChangeFeed, viewer: Viewer, reader: Reader) -> Iterator[bytes]:
    ends_at = time.monotonic() + _MAX_AGE_SECONDS
    beat_at = 0.0
    while not feed.is_ended and time.monotonic() < ends_at and not reader.has_left():
        if viewer.wait(_TICK_SECONDS):
            yield b"event: changed\ndata:%r\n\n" % viewer.told_at
        elif time.monotonic() >= beat_at:
            yield b"event: beat\ndata:\n\n"
        else:
            continue
        beat_at = time.monotonic() + _BEAT_SECONDS
