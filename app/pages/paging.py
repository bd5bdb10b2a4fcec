"""Where a page of a list begins, as its address says."""

from __future__ import annotations

from werkzeug.datastructures import MultiDict

from app.core.errors import Invalid


def offset(args: MultiDict[str, str], most: int) -> int:
    """How many rows are before it, `most` at most. Raises Invalid."""
    value = args.get("offset") or "0"
    if not (value.isascii() and value.isdecimal()):
        raise Invalid("offset must be a whole number.", param="offset")
    return min(int(value[:9]), most)
