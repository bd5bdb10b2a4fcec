"""The timeline's axis: round times of the reader's clock, midnights by their day, and which zone it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from math import gcd

from app.pages.display import there, zone_word
from app.pages.preferences import preferences

_DAY = timedelta(days=1)
# The offset of every zone is a multiple of so many seconds.
_GRAIN = 15 * 60
_STEPS = (
    *(timedelta(seconds=each) for each in (1, 2, 5, 10, 30)),
    *(timedelta(minutes=each) for each in (1, 2, 5, 10, 15, 30)),
    *(timedelta(hours=each) for each in (1, 2, 3, 6, 12)),
    *(timedelta(days=each) for each in (1, 2, 7, 14, 30, 90)),
)
_MOST = 9
_MONDAY = datetime(2000, 1, 3, tzinfo=UTC)


@dataclass(frozen=True)
class Tick:
    """A moment and what stands at it."""

    at: datetime
    word: str


def ticks(since: datetime, until: datetime) -> list[Tick]:
    """The round times from `since` to `until`; where the clocks are changed, the next one says the zone."""
    step = next((each for each in _STEPS if (until - since) / each <= _MOST), _STEPS[-1])
    moments = _days(since, until, step) if step >= _DAY else _times(since, until, step)
    found, zone = [], zone_word(since)
    for at in moments:
        before, zone = zone, zone_word(at)
        word = _word(there(at), step)
        found.append(Tick(at, f"{word} {zone}" if zone != before else word))
    return found


def heading(since: datetime, until: datetime) -> str:
    """The day and the zone in which the axis begins, like: Thu 26 Nov, CET; both zones if it has two."""
    words = (zone_word(since), zone_word(until))
    zone = words[0] if words[0] == words[1] else f"{words[0]}, {words[1]}"
    return f"{_day(there(since))}, {zone}"


def _times(since: datetime, until: datetime, step: timedelta) -> Iterator[datetime]:
    """Of less than a day: those whose time of the day is a multiple of the step.

    A time that comes twice is there twice, and one that is left out is not there.
    """
    grain = timedelta(seconds=gcd(round(step.total_seconds()), _GRAIN))
    at = _MONDAY + -(-(since - _MONDAY) // grain) * grain
    while at <= until:
        clock = there(at)
        of_day = timedelta(hours=clock.hour, minutes=clock.minute, seconds=clock.second)
        if not of_day % step:
            yield at
        at += grain


def _days(since: datetime, until: datetime, step: timedelta) -> Iterator[datetime]:
    """Midnights so many days from each other, weeks from a Monday on."""
    zone = preferences().timezone
    days = step // _DAY
    first = there(since).date()
    day = first + timedelta(days=-(first - _MONDAY.date()).days % days)
    while True:
        at = datetime.combine(day, time(), zone).astimezone(UTC)
        if at > until:
            return
        if at >= since:
            yield at
        day += step


def _word(at: datetime, step: timedelta) -> str:
    if step >= _DAY or (at.hour, at.minute, at.second) == (0, 0, 0):
        return _day(at)
    return f"{at:%H:%M:%S}" if step < timedelta(minutes=1) else f"{at:%H:%M}"


def _day(at: datetime) -> str:
    return f"{at:%a} {at.day} {at:%b}"
