"""A trigger in plain words: "every weekday at 07:30 Europe/Berlin"."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime

from app.core import cron
from app.core.cron import Crontab
from app.core.schedule_times import Cron, Interval, Once, Trigger, zone

_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_WORKDAYS = frozenset(range(1, 6))
_UNITS = (("week", 604_800), ("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))
# More clock times than these are told as minutes of hours.
_MOST_TIMES = 6


def describe(trigger: Trigger) -> str:
    """When it runs, as one would say it."""
    match trigger:
        case Cron():
            return f"{_cron(cron.parse(trigger.cron))} {trigger.timezone}"
        case Interval():
            begins = f", from {_moment(trigger.starts_at, 'UTC')}" if trigger.starts_at else ""
            return f"every {_span(trigger.seconds)}{begins}"
        case Once():
            return f"once, {_moment(trigger.at, trigger.timezone)}"


def _moment(moment: datetime, name: str) -> str:
    local = moment.astimezone(UTC if name == "UTC" else zone(name))
    seconds = ":%S" if local.second else ""
    return f"{local.strftime(f'%Y-%m-%d %H:%M{seconds}')} {name}"


def _span(seconds: int) -> str:
    unit, size = next((unit, size) for unit, size in _UNITS if seconds % size == 0)
    return _many(seconds // size, unit)


def _many(number: int, unit: str) -> str:
    return unit if number == 1 else f"{number} {unit}s"


def _cron(tab: Crontab) -> str:
    days = _days(tab)
    if len(tab.minutes) * len(tab.hours) <= _MOST_TIMES:
        times = (
            _clock(hour, minute) for hour in sorted(tab.hours) for minute in sorted(tab.minutes)
        )
        return f"{days} at {_and(times)}"
    told = _within_day(tab)
    return told if days == "every day" else f"{days}, {told}"


def _clock(hour: int, minute: int) -> str:
    return f"{hour:02}:{minute:02}"


def _within_day(tab: Crontab) -> str:
    """What comes about too often to name each time of the day."""
    hours, minutes = sorted(tab.hours), sorted(tab.minutes)
    every_minutes, every_hours = _step(tab.minutes, 60), _step(tab.hours, 24)
    is_in_a_row = hours[-1] - hours[0] == len(hours) - 1
    if len(minutes) == 1 and minutes[0] == 0 and every_hours is not None:
        return f"every {_many(every_hours, 'hour')}"
    if len(minutes) == 1 and is_in_a_row and not tab.is_any_hour:
        told = "every hour"
    elif every_minutes is not None:
        told = f"every {_many(every_minutes, 'minute')}"
    else:
        told = f"at {'minute' if len(minutes) == 1 else 'minutes'} {_and(_spans(minutes))}"
    if tab.is_any_hour:
        return told if every_minutes is not None and len(minutes) > 1 else f"{told} of every hour"
    if is_in_a_row:
        return f"{told} from {_clock(hours[0], minutes[0])} to {_clock(hours[-1], minutes[-1])}"
    if every_hours is not None:
        return f"{told} of every {_ordinal(every_hours)} hour"
    return f"{told} of the hours {_and(_spans(hours))}"


def _days(tab: Crontab) -> str:
    months = (
        "" if len(tab.months) == 12 else _and(_MONTHS[month - 1] for month in sorted(tab.months))
    )
    weekdays = "" if tab.is_any_weekday else _weekdays(tab.weekdays)
    if tab.is_any_day:
        return f"{weekdays or 'every day'}{f' in {months}' if months else ''}"
    days = f"on {_month_days(tab)} of {months or 'every month'}"
    if not weekdays:
        return days
    if not tab.is_either_day:
        return f"{days} that is {weekdays.replace('every', 'a', 1)}"
    return f"{days} and {weekdays}{f' in {months}' if months else ''}"


def _month_days(tab: Crontab) -> str:
    days = sorted(tab.days)
    step = days[1] - days[0] if len(days) > 5 else 1
    if step > 1 and days == list(range(1, 32, step)):
        return f"every {_ordinal(step)} day"
    named = ["–".join(_ordinal(int(end)) for end in span.split("–")) for span in _spans(days)]
    return f"the {_and([*named, 'last day'] if tab.is_last_day else named)}"


def _weekdays(days: frozenset[int]) -> str:
    if days == _WORKDAYS:
        return "every weekday"
    return f"every {_and(_WEEKDAYS[day] for day in sorted(days, key=lambda day: (day - 1) % 7))}"


def _step(numbers: Collection[int], size: int) -> int | None:
    """The step of numbers that fill the whole in equal steps from 0."""
    step = size // len(numbers)
    return step if set(numbers) == set(range(0, size, step)) and size % step == 0 else None


def _spans(numbers: Iterable[int]) -> list[str]:
    """Numbers, with three or more in a row as a span."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][-1] + 1:
            spans[-1].append(number)
        else:
            spans.append([number])
    told: list[str] = []
    for span in spans:
        told += [f"{span[0]}–{span[-1]}"] if len(span) > 2 else map(str, span)
    return told


def _ordinal(number: int) -> str:
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"


def _and(words: Iterable[str]) -> str:
    *front, last = words
    return f"{', '.join(front)} and {last}" if front else last
