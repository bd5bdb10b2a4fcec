"""/v1/files: upload, list, download, delete."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, g, send_file

from app.api.openapi import describe, read_query
from app.api.v1 import answers
from app.api.v1.objects import file_object, page
from app.api.v1.queries import FileQuery
from app.api.v1.uploads import Upload, receive
from app.auth import needs
from app.core import audit, files
from app.core.errors import Invalid, NotFound
from app.extensions import current_settings, db

blueprint = Blueprint("files", __name__, url_prefix="/files")


@blueprint.post("")
@needs("submit")
@describe(
    body=answers.FileForm, body_media="multipart/form-data", answer=answers.File, errors=(413, 422)
)
def create() -> dict[str, Any]:
    """Take a file."""
    settings = current_settings()
    db.session.rollback()  # an upload may take long; it keeps no connection from others
    with receive(settings) as upload:
        session = db.session()
        file = files.create(
            session,
            settings,
            upload.draft,
            owner_id=g.actor.user_id,
            purpose=upload.text("purpose") or "",
            filename=upload.filename,
            expires_after_seconds=_expires_after(upload),
        )
        audit.record(session, g.actor.label, "file.create", file.id)
        session.commit()
    return file_object(file)


@blueprint.get("")
@needs("read")
@describe(query=FileQuery, answer=answers.FileList)
def index() -> dict[str, Any]:
    """A page of files, newest first unless `order=asc`."""
    asked = read_query(FileQuery)
    found, has_more = files.list_files(
        db.session(),
        g.actor.owner_filter,
        after=asked.after,
        limit=asked.limit,
        is_descending=asked.order == "desc",
        purpose=asked.purpose,
    )
    return page([file_object(file) for file in found], has_more=has_more)


@blueprint.get("/<file_id>")
@needs("read")
@describe(answer=answers.File)
def show(file_id: str) -> dict[str, Any]:
    """One file's description."""
    return file_object(files.get(db.session(), file_id, g.actor.owner_filter))


@blueprint.get("/<file_id>/content")
@needs("read")
@describe(media="application/octet-stream")
def content(file_id: str) -> Response:
    """The file, byte for byte. A browser saves it and never shows it: anybody may have written it."""
    file = files.get(db.session(), file_id, g.actor.owner_filter)
    db.session.rollback()  # the connection goes back before the bytes go out
    try:
        response = send_file(
            files.path(current_settings(), file_id),
            mimetype="application/octet-stream",
            as_attachment=True,
            download_name=file.filename,
            etag=file.sha256,
        )
    except FileNotFoundError:
        raise NotFound("The file's bytes are gone from the server's disk.") from None
    response.headers["Content-Security-Policy"] = "sandbox; default-src 'none'"
    return response


@blueprint.delete("/<file_id>")
@needs("submit")
@describe(answer=answers.Deleted, errors=(409,))
def delete(file_id: str) -> dict[str, Any]:
    """Remove a file, unless a batch still needs it."""
    session = db.session()
    files.delete(session, file_id, g.actor.owner_filter)
    audit.record(session, g.actor.label, "file.delete", file_id)
    session.commit()
    files.remove_bytes(current_settings(), [file_id])
    return {"id": file_id, "object": "file", "deleted": True}


def _expires_after(upload: Upload) -> int | None:
    anchor = upload.text("expires_after[anchor]")
    seconds = upload.text("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        raise Invalid("expires_after[anchor] must be 'created_at'.", param="expires_after[anchor]")
    try:
        return int(seconds or "")
    except ValueError:
        raise Invalid(
            "expires_after[seconds] must be a whole number.", param="expires_after[seconds]"
        ) from None
