"""Query parameters, read strictly: what can't be read is a 400 that names the parameter."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from flask import request

from app.core.errors import Invalid

_MOST = 2**62  # fits Postgres's bigint
_LARGEST_INDEX = 2**31 - 2  # lines are counted from 1 and fit Postgres's integer
_LAST_MOMENT = 253_402_300_799  # of the year 9999


def read_limit(default: int, most: int) -> int:
    """`limit`, clamped to `most`."""
    return min(_read_integer("limit", default, least=1), most)


def read_offset() -> int:
    """`offset`: how many to skip."""
    return _read_integer("offset", 0, least=0)


def read_index(name: str) -> int:
    """A place counted from 0; -1, before the first, where none is given."""
    return _read_integer(name, -1, least=0, most=_LARGEST_INDEX)


def read_text(name: str) -> str | None:
    """A text; an empty one counts as not given, as forms send it."""
    text = request.args.get(name) or None
    if text is not None and "\x00" in text:
        raise Invalid(f"{name} has a character that no text has.", param=name)
    return text


def read_choice(name: str, choices: Collection[str], default: str | None = None) -> str | None:
    """One of `choices`."""
    text = read_text(name)
    if text is None:
        return default
    if text not in choices:
        raise Invalid(f"{name} must be one of {', '.join(choices)}; got {text!r}.", param=name)
    return text


def read_unix_time(name: str) -> datetime | None:
    """A moment in Unix seconds."""
    text = read_text(name)
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    # Nothing was made before the first one, and the calendar ends with the last.
    if not 0 <= seconds <= _LAST_MOMENT:
        raise Invalid(f"{name} must be a time in Unix seconds; got {text[:100]!r}.", param=name)
    return datetime.fromtimestamp(seconds, UTC)


def _read_integer(name: str, default: int, *, least: int, most: int = _MOST) -> int:
    text = read_text(name)
    if text is None:
        return default
    try:
        number = int(text)
    except ValueError:
        raise Invalid(f"{name} must be a whole number; got {text[:100]!r}.", param=name) from None
    if not least <= number <= most:
        bound = f"{least} or more" if number < least else f"{most} at most"
        raise Invalid(f"{name} must be {bound}; got {text[:100]}.", param=name)
    return number
