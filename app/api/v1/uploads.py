"""A multipart upload, read from the socket straight to disk: the body is never in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, cast

from flask import request
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge
from werkzeug.formparser import FormDataParser

from app.core import storage
from app.core.errors import Invalid, TooLarge
from app.core.settings import Settings

# The form around the file: boundaries, headers and the small fields.
_FORM_BYTES = 256 * 1024
_MOST_PARTS = 20


@dataclass
class Upload:
    """A form with one file, whose bytes are in `draft`."""

    draft: storage.Draft
    filename: str
    fields: MultiDict[str, str]

    def text(self, name: str) -> str | None:
        """A field, or None when it is absent or empty."""
        return self.fields.get(name) or None


@contextlib.contextmanager
def receive(settings: Settings) -> Iterator[Upload]:
    """Read the request's form; on leaving, a draft that was not kept is removed.

    Raises Invalid for anything but a form with a `file`, TooLarge (before the body is read, where
    its length is announced), and Unavailable when the disk is full.
    """
    if request.mimetype != "multipart/form-data" or "boundary" not in request.mimetype_params:
        raise Invalid("Send the file as multipart/form-data.", param="file")
    storage.check_room(settings, max((request.content_length or 0) - _FORM_BYTES, 0))
    request.max_content_length = settings.max_upload_bytes + _FORM_BYTES
    drafts: list[storage.Draft] = []

    def open_draft(*_: object, **__: object) -> IO[bytes]:
        if drafts:
            raise Invalid("Send one file at a time.", param="file")
        drafts.append(storage.Draft(settings, max_bytes=settings.max_upload_bytes))
        return cast(IO[bytes], drafts[0])

    try:
        yield _parse(open_draft, drafts)
    finally:
        for draft in drafts:
            draft.discard()


def _parse(open_draft: Any, drafts: list[storage.Draft]) -> Upload:
    parser = FormDataParser(
        stream_factory=open_draft,
        max_form_memory_size=_FORM_BYTES,
        max_form_parts=_MOST_PARTS,
        silent=False,
    )
    try:
        _, fields, files = parser.parse(
            request.stream,
            request.mimetype,
            request.content_length,
            dict(request.mimetype_params),
        )
    except RequestEntityTooLarge:
        raise TooLarge("The upload is larger than this server takes.", param="file") from None
    except ClientDisconnected:
        raise Invalid("The upload ended before its last byte.", param="file") from None
    except ValueError:
        raise Invalid("The form can't be read as multipart/form-data.", param="file") from None
    if not drafts or "file" not in files:
        raise Invalid("Missing required parameter: 'file'.", param="file")
    return Upload(drafts[0], files["file"].filename or "", fields)
