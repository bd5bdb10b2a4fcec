"""Times that readers type, in the zone of their clock; addresses have them in UTC.

A form says with its field `zone` which zone its times are in, and beside each time (`from`) which moment
it showed (`from-at`): what nobody changed stays that moment, to its last digit and where a change of the
clocks makes it twofold. An address that such a form asks for is put into UTC by a redirect, so that it
means the same to whoever gets it. A time with an offset means what it says; one without any zone is UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from urllib.parse import quote, urlencode

from flask import Flask, redirect, request
from werkzeug.wrappers import Response

from app.core.errors import Invalid
from app.pages.display import there, zone_word
from app.pages.preferences import known_zone, preferences

ZONE = "zone"
_SHOWN = "-at"
# What times are called in addresses.
_BEGINS, _ENDS = ("from", "since"), ("to", "until")
_ADDRESSED = (*_BEGINS, *_ENDS)
_FIRST, _LAST = datetime(2000, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
_LONGEST = 40
_DAY = len("2026-11-22")


def register(app: Flask) -> None:
    """Make the words for forms known to the templates, and put addresses into UTC."""
    app.before_request(_in_utc)
    app.add_template_filter(field, "time_field")
    app.add_template_filter(address, "time_address")
    app.add_template_global(zone_name)


def moment(
    args: Mapping[str, str], name: str, *, is_end: bool = False, called: str | None = None
) -> datetime | None:
    """A time that was typed, in UTC; None where none was.

    A day alone is its beginning, or as an end the whole day. A time that comes twice is the first as
    `from` and the last as an end. Raises Invalid, by the name it is `called`, for what is no time, does not
    exist in its zone, or comes twice where only one can be meant.
    """
    value, word = args.get(name), called or name
    if not value:
        return None
    shown = args.get(name + _SHOWN)
    zone = _zone_of(args)
    if shown and (at := _exact(shown)) is not None and value in _fields(at, zone):
        return at
    try:
        read = datetime.fromisoformat(value[:_LONGEST])
        if not _FIRST.year <= read.year < _LAST.year:
            return _FIRST if read.year < _FIRST.year else _LAST
        if is_end and len(value) == _DAY:
            read += timedelta(days=1)
        at = read.astimezone(UTC) if read.tzinfo else _at(read, zone, word, name, is_end=is_end)
    except (ValueError, OverflowError):
        raise Invalid(f"{word} must be a time like 2026-11-22T09:30.", param=word) from None
    return min(max(at, _FIRST), _LAST)


def field(at: datetime | None, *, seconds: bool = False) -> str:
    """A moment as a field for a time has it, on the reader's clock."""
    return _wall(there(at), seconds=seconds) if at else ""


def address(at: datetime | None) -> str:
    """A moment as an address has it: whole seconds where it is one."""
    if at is None:
        return ""
    exact = at.astimezone(UTC).replace(tzinfo=None)
    return f"{exact.isoformat(timespec='milliseconds' if exact.microsecond else 'seconds')}Z"


def zone_name() -> str:
    """The zone that typed times are in, such as Europe/Berlin."""
    return str(preferences().timezone)


def span(since: datetime, until: datetime) -> str:
    """From when to when, on the reader's clock, like: 2026-11-22 09:30 to 11:00 CET."""
    words = (zone_word(since), zone_word(until))
    first = "" if words[0] == words[1] else f" {words[0]}"
    return f"{_minute(since)}{first} to {_minute(until)} {words[1]}"


def at_minute(at: datetime) -> str:
    """Like: 2026-11-22 09:30 CET."""
    return f"{_minute(at)} {zone_word(at)}"


def _minute(at: datetime) -> str:
    return f"{there(at):%Y-%m-%d %H:%M}"


def _wall(at: datetime, *, seconds: bool) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S}" if seconds else f"{at:%Y-%m-%dT%H:%M}"


def _fields(at: datetime, zone: tzinfo) -> list[str]:
    """What a field may have shown of a moment."""
    return [_wall(at.astimezone(zone), seconds=seconds) for seconds in (False, True)]


def _exact(value: str) -> datetime | None:
    """A moment that was written by `address`."""
    try:
        at = datetime.fromisoformat(value[:_LONGEST])
        return min(max(at.astimezone(UTC), _FIRST), _LAST) if at.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _zone_of(args: Mapping[str, str]) -> tzinfo:
    """The zone that a form says its times are in. Raises Invalid."""
    name = args.get(ZONE)
    if not name or name == "UTC":
        return UTC
    zone = known_zone(name)
    if zone is None:
        raise Invalid(f"{ZONE} must be a time zone such as Europe/Berlin.", param=ZONE)
    return zone


def _at(wall: datetime, zone: tzinfo, word: str, name: str, *, is_end: bool) -> datetime:
    """When a clock of the zone shows that. Raises Invalid, OverflowError."""
    first, last = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if first == last:
        return first
    said = f"{wall:%Y-%m-%d %H:%M}"
    if first > last:  # PEP 495: within a gap the fold says by which of both offsets it is read
        if (wall.hour, wall.minute) == (0, 0):
            return first  # of a day without midnight: its first moment
        raise Invalid(
            f"{word} is {said}, which does not exist in {zone}: the clocks are set forward by"
            f" {_amount(first - last)} over it. {first.astimezone(zone):%H:%M} comes in its place.",
            param=word,
        )
    if is_end:
        return last
    if name in _BEGINS:
        return first
    raise Invalid(
        f"{word} is {said}, which comes twice in {zone}, as the clocks are set back by"
        f" {_amount(last - first)}: at {_of_utc(first, zone)} and at {_of_utc(last, zone)}. Say a time"
        " that comes once, or choose UTC under “Times” in the menu at the top.",
        param=word,
    )


def _amount(by: timedelta) -> str:
    """Like: 1 h, 30 min."""
    minutes = round(by.total_seconds() / 60)
    return f"{minutes // 60} h" if minutes % 60 == 0 else f"{minutes} min"


def _of_utc(at: datetime, zone: tzinfo) -> str:
    return f"{at:%H:%M} UTC ({at.astimezone(zone).tzname()})"


def _in_utc() -> Response | None:
    """Where a form's times ask for a page: its address with the moments that they are."""
    asked = request.args
    if (
        request.endpoint is None
        or request.method != "GET"
        or ZONE not in asked
        or not any(map(asked.get, _ADDRESSED))
    ):
        return None
    try:
        times = {
            name: address(moment(asked, name, is_end=name in _ENDS))
            for name in _ADDRESSED
            if asked.get(name)
        }
    except Invalid:
        return None  # the page says so
    left_out = {ZONE, *_ADDRESSED, *(name + _SHOWN for name in _ADDRESSED)}
    kept = [each for each in asked.items(multi=True) if each[0] not in left_out]
    query = urlencode([*kept, *times.items()], safe=":")
    # Two slashes would begin a host, and so would some that a browser strips what is between.
    path = f"{request.script_root}/{quote(request.path.lstrip('/'))}"
    return redirect(f"{path}?{query}")
