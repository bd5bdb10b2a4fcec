"""JSON of whatever a job has: its numbers may have more digits than the quick writer knows."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import orjson


def write(value: Any) -> bytes:
    """Compact JSON in UTF-8; a time in ISO 8601, and anything that JSON has no word for as its text."""
    try:
        return orjson.dumps(value, default=str)
    except orjson.JSONEncodeError:
        text = json.dumps(value, default=_plain, ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "replace")


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
