"""A batch's files, for a signed-in browser."""

from __future__ import annotations

from flask import Blueprint, Response, g, send_file

from app.core import files, storage
from app.core.errors import NotFound
from app.extensions import current_settings, db

blueprint = Blueprint("files", __name__, url_prefix="/files")


@blueprint.get("/<file_id>/content")
def content(file_id: str) -> Response:
    """The file as it is, to be saved and never shown: it holds what somebody else wrote."""
    file = files.get(db.session(), file_id, g.actor.owner_filter)
    path = storage.path(current_settings(), file.id)
    if not path.exists():
        raise NotFound("The bytes of this file are gone from the data folder.")
    response = send_file(
        path,
        mimetype="application/octet-stream",
        as_attachment=True,
        download_name=file.filename,
    )
    response.headers["Content-Security-Policy"] = "sandbox"
    return response
