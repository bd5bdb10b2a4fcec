"""A batch's lines on their way into a file: with the model that each is to be asked of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import IO

from app.core.errors import Invalid
from app.core.storage import Draft


@dataclass(frozen=True)
class Copied:
    """How many lines there were, and the endpoint that the first readable one names."""

    lines: int
    endpoint: str | None


def copy(source: IO[bytes], draft: Draft, *, model: str | None, max_line_bytes: int) -> Copied:
    """Write the lines of `source` into `draft`, with `model` in the body of those that name none.

    All others stay as they are, byte for byte; what is no JSON object is validation's to refuse.
    Raises Invalid with the line's number when a line names another model or is too long.
    """
    number = 0
    endpoint: str | None = None
    while line := source.readline(max_line_bytes + 2):
        number += 1
        if len(line.rstrip(b"\r\n")) > max_line_bytes:
            raise Invalid(f"Line {number} has more than {max_line_bytes:,} bytes.")
        if endpoint is None or model is not None:
            entry = _read(line)
            url = entry.get("url")
            if endpoint is None and isinstance(url, str):
                endpoint = url
            if model is not None:
                line = _named(line, entry, model, number)
        draft.write(line)
    return Copied(number, endpoint)


def _read(line: bytes) -> dict[str, object]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return entry if isinstance(entry, dict) else {}


def _named(line: bytes, entry: dict[str, object], model: str, number: int) -> bytes:
    body = entry.get("body")
    if not isinstance(body, dict):
        return line
    named = body.get("model")
    if named is None:
        return json.dumps({**entry, "body": {**body, "model": model}}).encode() + b"\n"
    if named != model:
        raise Invalid(
            f"Line {number} names the model {named!r}, not {model!r}: leave --model out, or take "
            "the lines' own models out."
        )
    return line
