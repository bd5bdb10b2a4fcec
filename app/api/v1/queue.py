"""/v1/queue: what runs, what waits, and for how long."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from app.api.openapi import describe
from app.api.v1 import answers
from app.auth import needs
from app.core import queue
from app.extensions import db

blueprint = Blueprint("queue", __name__, url_prefix="/queue")


@blueprint.get("")
@needs("read")
@describe(answer=answers.Queue)
def show() -> dict[str, Any]:
    """The whole queue; everybody may see how long it is."""
    return queue.overview(db.session())
