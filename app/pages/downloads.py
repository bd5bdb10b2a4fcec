"""What a page hands over to be saved: a file's bytes, its kind and its name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from flask import Response, stream_with_context

from app.core import export_formats

_MEDIA_TYPES = {
    "csv": "text/csv",
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "log": "text/plain",
    "svg": "image/svg+xml",
}


def file(body: str | Iterable[bytes], name: str) -> Response:
    """A file of the kind that its name ends with; parts go out as they are read.

    The first part is read at once: what can't be, such as a search that is not understood, is
    refused while there still is a status to answer with.
    """
    if not isinstance(body, str):
        parts = iter(body)
        body = stream_with_context(_after(next(parts, b""), parts))
    kind = _MEDIA_TYPES.get(name.rpartition(".")[2], "application/octet-stream")
    response = Response(body, mimetype=kind)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def table(parts: export_formats.Parts, columns: Sequence[str], name: str) -> Response:
    """Rows as CSV or, where the name ends so, as a JSON array."""
    is_json = name.endswith(".json")
    write = export_formats.json_array if is_json else export_formats.csv_lines
    return file(write(parts, columns), name)


def _after(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest
