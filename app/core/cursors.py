"""Cursors: where a page of a list ended, opaque to who sends it back and checked when it comes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import orjson

from app.core.errors import Invalid

Value = str | int | datetime

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MICROSECOND = 253_402_300_799_000_000  # of the year 9999
_MOST = 2**62  # fits Postgres's bigint
_LONGEST = 4000


def encode(purpose: str, values: Sequence[Value]) -> str:
    """A cursor for a list of one purpose, such as its order."""
    plain = [_EPOCH_MARK + str(_microseconds(v)) if isinstance(v, datetime) else v for v in values]
    return base64.urlsafe_b64encode(orjson.dumps([purpose, *plain])).rstrip(b"=").decode()


def decode(cursor: str, kinds: Mapping[str, Sequence[type]]) -> tuple[str, list[Value]]:
    """The purpose and the values of a cursor; `kinds` has the types of the values by purpose.

    Raises Invalid.
    """
    try:
        if len(cursor) > _LONGEST:
            raise ValueError
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        content = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, binascii.Error):
        raise _unreadable() from None
    match content:
        case [str(purpose), *values] if purpose in kinds and len(values) == len(kinds[purpose]):
            read = [_value(value, kind) for value, kind in zip(values, kinds[purpose], strict=True)]
            return purpose, read
        case [str(), *_]:
            raise Invalid("cursor belongs to a list in another order.", param="cursor")
    raise _unreadable()


# Texts of the list itself never begin with it: NUL is in no text of the database.
_EPOCH_MARK = "\0"


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _value(value: object, kind: type) -> Value:
    match value:
        case str() if kind is datetime and value.startswith(_EPOCH_MARK):
            digits = value[1:]
            if digits.isdecimal() and digits.isascii() and len(digits) < 19:
                number = int(digits)
                if number <= _LAST_MICROSECOND:
                    return _EPOCH + timedelta(microseconds=number)
        case str() if kind is str and "\0" not in value:
            return value
        case int() if kind is int and not isinstance(value, bool) and -_MOST <= value <= _MOST:
            return value
    raise _unreadable()


def _unreadable() -> Invalid:
    return Invalid("cursor is none that a list gave.", param="cursor")
