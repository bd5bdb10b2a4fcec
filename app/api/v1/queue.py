"""/v1/queue: what runs, what waits, and for how long."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, g

from app.api.openapi import describe
from app.api.v1 import answers
from app.auth import needs
from app.core import admission, queue
from app.extensions import current_settings, db

blueprint = Blueprint("queue", __name__, url_prefix="/queue")


@blueprint.get("")
@needs("read")
@describe(answer=answers.Queue)
def show() -> dict[str, Any]:
    """The whole queue; everybody may see how long it is."""
    session, settings, viewer = db.session(), current_settings(), g.actor.owner_filter
    return queue.overview(
        session, lambda found: admission.queue_reasons(session, settings, found, viewer)
    )
