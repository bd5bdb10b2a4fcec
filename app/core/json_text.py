"""JSON of whatever a job has: its numbers may have more digits than the quick reader and writer know."""

from __future__ import annotations

import json
import math
import re
from datetime import datetime
from typing import Any

import orjson

# Of so many digits the quick reader may keep too few.
_LONG = re.compile(r"\d{19}", re.ASCII)


def read(text: str | bytes) -> Any:
    """What JSON in UTF-8 says, its whole numbers to the last digit. Raises json.JSONDecodeError."""
    value = orjson.loads(text)
    said = text if isinstance(text, str) else text.decode()
    if not _LONG.search(said):
        return value
    try:
        return json.loads(said)
    except (ValueError, RecursionError):  # longer or deeper than Python has them
        raise json.JSONDecodeError(
            "a number is too long, or it is nested too deep", said, 0
        ) from None


def write(value: Any) -> bytes:
    """Compact JSON in UTF-8; a time in ISO 8601, and anything that JSON has no word for as its text.

    A number that is none, or larger than Python's, is null.
    """
    try:
        return orjson.dumps(value, default=str)
    except orjson.JSONEncodeError:
        finite = _finite(value)
        text = json.dumps(finite, default=_plain, ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "replace")


def _finite(value: Any) -> Any:
    """As the quick writer has it: the other one's words for such numbers are no JSON."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {name: _finite(each) for name, each in value.items()}
        case list() | tuple():
            return [_finite(each) for each in value]
    return value


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
