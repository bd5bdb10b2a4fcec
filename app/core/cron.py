"""Cron expressions: five fields, read once into sets of numbers, matched by APScheduler's trigger.

Weekdays are cron's (0 and 7 are Sunday). As in cron, when both the day of the month and the weekday
are restricted, a day that fits either one counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from apscheduler.triggers.cron import CronTrigger

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")

_SHORT = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_FIELDS = (
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of the month", 1, 31),
    ("month", 1, 12),
    ("weekday", 0, 7),
)
_DAYS_IN_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_MOST_SIGNS = 200


@dataclass(frozen=True)
class Crontab:
    """What an expression says: which minutes, hours, days, months and weekdays (0 = Sunday).

    `is_last_day`: the month's last day counts, too. `is_either_day`: a fitting day of the month or a
    fitting weekday is enough.
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    is_last_day: bool
    months: frozenset[int]
    weekdays: frozenset[int]
    is_either_day: bool

    @property
    def is_any_hour(self) -> bool:
        """Whether it runs by the minute, whatever the hour is called."""
        return len(self.hours) == 24

    @property
    def is_any_day(self) -> bool:
        """Whether the day of the month does not matter."""
        return len(self.days) == 31

    @property
    def is_any_weekday(self) -> bool:
        """Whether the weekday does not matter."""
        return len(self.weekdays) == 7


@lru_cache(512)
def parse(expression: str) -> Crontab:
    """Read an expression. Raises ValueError that says what is wrong, or that it never fits a date."""
    if len(expression) > _MOST_SIGNS:
        raise ValueError(f"must have {_MOST_SIGNS} characters at most")
    text = _SHORT.get(expression.strip().lower(), expression)
    fields = text.split()
    if len(fields) != 5:
        raise ValueError("must have five fields: minute, hour, day of the month, month and weekday")
    last = "," + fields[2].upper() + ","
    is_last_day = ",L," in last
    if is_last_day:
        fields[2] = last.replace(",L,", ",").strip(",")
    sets = [
        frozenset(_read(field, *bounds)) if field else frozenset()
        for field, bounds in zip(fields, _FIELDS, strict=True)
    ]
    tab = Crontab(
        minutes=sets[0],
        hours=sets[1],
        days=sets[2],
        is_last_day=is_last_day,
        months=sets[3],
        weekdays=frozenset(day % 7 for day in sets[4]),
        # A field that begins with * restricts nothing by itself, as in cron.
        is_either_day=not fields[2].startswith("*") and not fields[4].startswith("*"),
    )
    if not _ever_fits(tab):
        raise ValueError("fits no date: no such month has such a day")
    return tab


def _ever_fits(tab: Crontab) -> bool:
    if tab.is_last_day or tab.is_either_day:
        return True
    return any(day <= _DAYS_IN_MONTH[month - 1] for month in tab.months for day in tab.days)


def _read(field: str, name: str, least: int, most: int) -> set[int]:
    found: set[int] = set()
    for part in field.split(","):
        span, slash, step = part.partition("/")
        first, dash, last = span.partition("-")
        if span == "*":
            low, high = least, min(most, 6) if name == "weekday" else most
        else:
            low = _number(first, name, least, most)
            high = _number(last, name, least, most) if dash else (most if slash else low)
        if low > high:
            raise ValueError(f"{name}: {part!r} begins after its end")
        found.update(range(low, high + 1, _step(step, name) if slash else 1))
    return found


def _number(word: str, name: str, least: int, most: int) -> int:
    names = {"month": MONTHS, "weekday": WEEKDAYS}.get(name, ())
    if word.lower() in names:
        return names.index(word.lower()) + (name == "month")
    if word.isascii() and word.isdecimal() and least <= int(word) <= most:
        return int(word)
    raise ValueError(f"{name}: {word!r} is no number from {least} to {most}")


def _step(word: str, name: str) -> int:
    if word.isascii() and word.isdecimal() and int(word) > 0:
        return int(word)
    raise ValueError(f"{name}: {word!r} is no step")


def next_wall_time(expression: str, wall: datetime) -> datetime:
    """The next local time (without a zone) that fits, after `wall`."""
    after = wall.replace(tzinfo=UTC) + timedelta(microseconds=1)
    found: datetime = min(
        trigger.get_next_fire_time(None, after) for trigger in _triggers(expression)
    )
    return found.replace(tzinfo=None)


@lru_cache(512)
def _triggers(expression: str) -> tuple[CronTrigger, ...]:
    """One, or two of which either counts. Their UTC stands for the local time of any zone."""
    tab = parse(expression)
    days = ["*"] if tab.is_any_day else [str(day) for day in sorted(tab.days)]
    if tab.is_last_day:
        days.append("last")
    fields = {
        "minute": _listed(tab.minutes, 60),
        "hour": _listed(tab.hours, 24),
        "month": _listed(tab.months, 12),
        "timezone": UTC,
    }
    day = ",".join(days)
    weekday = "*"
    if not tab.is_any_weekday:
        weekday = ",".join(WEEKDAYS[number] for number in sorted(tab.weekdays))
    if tab.is_either_day:
        return (
            CronTrigger(day=day, day_of_week="*", **fields),
            CronTrigger(day="*", day_of_week=weekday, **fields),
        )
    return (CronTrigger(day=day, day_of_week=weekday, **fields),)


def _listed(numbers: frozenset[int], all_of_them: int) -> str:
    return "*" if len(numbers) == all_of_them else ",".join(map(str, sorted(numbers)))
