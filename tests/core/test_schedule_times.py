"""When schedules run, whatever the clocks do, and how that is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from pydantic import ValidationError

from app.core import cron
from app.core.schedule_times import (
    TRIGGER,
    Cron,
    Interval,
    Once,
    count_runs,
    delay,
    latest_run,
    latest_runs,
    runs_after,
    zone,
)
from app.core.schedule_words import describe

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/St_Johns")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def local_runs(expression: str, name: str, after: str, most: int) -> list[str]:
    trigger = Cron(kind="cron", cron=expression, timezone=name)
    return [
        run.astimezone(zone(name)).strftime("%m-%d %H:%M%z")
        for run in runs_after(trigger, at(after), most)
    ]


def test_a_local_time_that_is_left_out_runs_once_an_hour_later() -> None:
    assert local_runs("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", 2) == [
        "03-29 03:30+0200",
        "03-30 02:30+0200",
    ]


def test_a_local_time_that_comes_twice_runs_once() -> None:
    assert local_runs("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", 2) == [
        "10-25 02:30+0200",
        "10-26 02:30+0100",
    ]


def test_what_runs_at_any_hour_has_no_pause_and_no_burst_when_the_clocks_change() -> None:
    trigger = Cron(kind="cron", cron="*/20 * * * *", timezone="Europe/Berlin")
    for day in ("2026-03-28T20:00", "2026-10-24T20:00"):
        runs = runs_after(trigger, at(day), 40)
        pauses = {later - sooner for sooner, later in pairwise(runs)}
        assert pauses == {timedelta(minutes=20)}


def test_clocks_that_are_changed_by_half_an_hour() -> None:
    assert local_runs("15 2 * * *", "Australia/Lord_Howe", "2026-10-02T18:00", 2) == [
        "10-04 02:45+1100",
        "10-05 02:15+1100",
    ]
    assert local_runs("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T00:00", 2) == [
        "04-05 01:45+1100",
        "04-06 01:45+1030",
    ]


def test_a_leap_day_comes_in_leap_years_alone() -> None:
    trigger = Cron(kind="cron", cron="0 12 29 2 *")
    assert [run.year for run in runs_after(trigger, at("2094-01-01"), 3)] == [2096, 2104, 2108]
    last = Cron(kind="cron", cron="0 12 L 2 *")
    assert [run.day for run in runs_after(last, at("2027-01-01"), 3)] == [28, 29, 28]


def test_weekdays_and_days_are_those_of_cron() -> None:
    sunday = Cron(kind="cron", cron="0 0 * * 0")
    assert runs_after(sunday, at("2026-11-25"), 1) == [at("2026-11-29")]
    assert runs_after(Cron(kind="cron", cron="0 0 * * 7"), at("2026-11-25"), 1) == [
        at("2026-11-29")
    ]
    # Restricted both, either one is enough.
    either = Cron(kind="cron", cron="0 0 13 * fri")
    assert [run.day for run in runs_after(either, at("2026-12-01"), 4)] == [4, 11, 13, 18]


minutes = some.sampled_from(["0", "30", "*/15", "5,50", "10-13", "59"])
hours = some.sampled_from(["*", "2", "1-3", "*/2", "0,23", "3"])
days = some.sampled_from(["*", "1", "L", "29"])
weekdays = some.sampled_from(["*", "1-5", "0"])
# Around the changes of the clocks of these zones, and at any time.
changes = ["2026-03-07", "2026-03-28", "2026-04-04", "2026-10-03", "2026-10-24", "2026-10-31"]
begins = some.sampled_from([at(day) for day in changes]) | some.datetimes(
    min_value=datetime(2025, 1, 1),  # noqa: DTZ001
    max_value=datetime(2030, 1, 1),  # noqa: DTZ001
    timezones=some.just(UTC),
)


@settings(max_examples=80, deadline=None)
@given(
    some.tuples(minutes, hours, days, some.just("*"), weekdays).map(" ".join),
    some.sampled_from(ZONES),
    begins,
    some.integers(0, 1440),
)
def test_runs_are_the_fitting_local_times_in_order(
    expression: str, name: str, day: datetime, offset_minutes: int
) -> None:
    """Against the definition: every minute is looked at, by the local clock."""
    trigger = Cron(kind="cron", cron=expression, timezone=name)
    begin = day + timedelta(minutes=offset_minutes)
    until = begin + timedelta(hours=30)
    found: list[datetime] = []
    while (run := trigger.next_after(found[-1] if found else begin)) is not None and run <= until:
        found.append(run)
    assert found == sorted(set(found))
    tab, local = cron.parse(expression), zone(name)
    minute = begin.replace(second=0, microsecond=0)
    expected = set()
    while (minute := minute + timedelta(minutes=1)) <= until:
        wall = minute.astimezone(local)
        if not _fits(tab, wall):
            continue
        if wall.fold and not tab.is_any_hour:
            continue  # its first coming has run
        expected.add(minute)
    # What is left out comes later by as much as the clocks were set forward.
    extra = set(found) - expected
    assert expected <= set(found)
    for run in extra:
        before = run - timedelta(hours=3)
        offset_before = before.astimezone(local).utcoffset()
        offset = run.astimezone(local).utcoffset()
        assert offset_before is not None
        assert offset is not None
        assert offset > offset_before
        assert _fits(tab, (run + offset_before).replace(tzinfo=None))


def _fits(tab: cron.Crontab, wall: datetime) -> bool:
    is_last = tab.is_last_day and (wall + timedelta(days=1)).day == 1
    day = wall.day in tab.days or is_last
    weekday = (wall.weekday() + 1) % 7 in tab.weekdays
    fits_day = (day or weekday) if tab.is_either_day else (day and weekday)
    return (
        wall.minute in tab.minutes
        and wall.hour in tab.hours
        and wall.month in tab.months
        and fits_day
    )


def test_an_interval_is_elapsed_time_from_its_beginning() -> None:
    trigger = Interval(kind="interval", seconds=5400, starts_at=at("2026-03-28T22:00"))
    assert runs_after(trigger, at("2026-01-01"), 2) == [
        at("2026-03-28T22:00"),
        at("2026-03-28T23:30"),
    ]
    # Across a change of the clocks, and exactly on a planned time.
    assert trigger.next_after(at("2026-03-29T01:00")) == at("2026-03-29T02:30")


def test_once_is_once() -> None:
    trigger = Once.model_validate(
        {"kind": "once", "at": "2026-12-24T18:00", "timezone": "Europe/Berlin"}
    )
    assert runs_after(trigger, at("2026-12-01")) == [at("2026-12-24T17:00")]
    assert trigger.next_after(at("2026-12-24T17:00")) is None
    assert TRIGGER.validate_python(trigger.model_dump(mode="json")) == trigger


def test_the_latest_runs_of_a_long_time_are_found_at_once() -> None:
    each_minute = Cron(kind="cron", cron="* * * * *")
    now = at("2026-11-25T10:00:30")
    assert latest_runs(each_minute, now - timedelta(days=3650), now, 2) == [
        at("2026-11-25T09:59"),
        at("2026-11-25T10:00"),
    ]
    burst = Cron(kind="cron", cron="* 8-17 * * 1")
    assert latest_run(burst, now - timedelta(days=365), now) == at("2026-11-23T17:59")
    assert latest_run(each_minute, at("2026-11-25T10:00:10"), now) is None
    assert count_runs(each_minute, at("2026-11-25T09:00"), now, 1000) == 61
    assert count_runs(each_minute, at("2025-11-25T09:00"), now, 1000) == 1000


def test_jitter_is_bounded_and_the_same_for_everybody() -> None:
    delays = [delay(7, at("2026-11-25") + timedelta(hours=n), 30.0) for n in range(200)]
    assert all(timedelta() <= each < timedelta(seconds=30) for each in delays)
    assert max(delays) > timedelta(seconds=25)
    assert delay(7, at("2026-11-25"), 30.0) == delays[0]
    assert delay(8, at("2026-11-25"), 30.0) != delays[0]
    assert delay(7, at("2026-11-25"), 0.0) == timedelta()


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("30 7 * * 1-5", "every weekday at 07:30"),
        ("@daily", "every day at 00:00"),
        ("* * * * *", "every minute"),
        ("*/15 * * * *", "every 15 minutes"),
        ("0 * * * *", "every hour"),
        ("15 * * * *", "at minute 15 of every hour"),
        ("0 */2 * * *", "every 2 hours"),
        ("30 */2 * * *", "at minute 30 of every 2nd hour"),
        ("*/5 8-17 * * mon-fri", "every weekday, every 5 minutes from 08:00 to 17:55"),
        ("0 8-18 * * *", "every hour from 08:00 to 18:00"),
        ("*/10 1,5,9 * * *", "every 10 minutes of the hours 1, 5 and 9"),
        ("0 9,18 * * 6,0", "every Saturday and Sunday at 09:00 and 18:00"),
        ("0 0 1 * *", "on the 1st of every month at 00:00"),
        ("0 0 1,15 1,7 *", "on the 1st and 15th of January and July at 00:00"),
        ("0 0 L * *", "on the last day of every month at 00:00"),
        ("5 4 1-7 * *", "on the 1st–7th of every month at 04:05"),
        ("0 6 13 * 5", "on the 13th of every month and every Friday at 06:00"),
        ("0 6 */2 * 5", "on every 2nd day of every month that is a Friday at 06:00"),
        ("0 0 * 12 *", "every day in December at 00:00"),
    ],
)
def test_a_cron_is_told_in_words(expression: str, told: str) -> None:
    trigger = Cron(kind="cron", cron=expression, timezone="Europe/Berlin")
    assert describe(trigger) == f"{told} Europe/Berlin"


def test_the_others_are_told_in_words() -> None:
    assert describe(Interval(kind="interval", seconds=5400)) == "every 90 minutes"
    begun = Interval(kind="interval", seconds=86400, starts_at=at("2026-11-25T07:00"))
    assert describe(begun) == "every day, from 2026-11-25 07:00 UTC"
    once = Once(kind="once", at=at("2026-11-25T07:00"), timezone="Asia/Tokyo")
    assert describe(once) == "once, 2026-11-25 16:00 Asia/Tokyo"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"kind": "cron", "cron": "* * * *"}, "five fields"),
        ({"kind": "cron", "cron": "60 * * * *"}, "minute: '60'"),
        ({"kind": "cron", "cron": "* * 30 2 *"}, "no such month has such a day"),
        ({"kind": "cron", "cron": "*/0 * * * *"}, "no step"),
        ({"kind": "cron", "cron": "5-3 * * * *"}, "begins after its end"),
        ({"kind": "cron", "cron": "٣ * * * *"}, "minute: '٣'"),
        ({"kind": "cron", "cron": "1," * 500 + "1 * * * *"}, "200 characters at most"),
        ({"kind": "cron", "cron": "* * * * *", "timezone": "Mars/Olympus"}, "no time zone"),
        ({"kind": "cron", "cron": "* * * * *", "timezone": "../etc"}, "no time zone"),
        ({"kind": "cron", "cron": "* * * * *", "timezone": "Europe"}, "no time zone"),
        ({"kind": "interval", "seconds": 1}, "greater than or equal to 5"),
        ({"kind": "once", "at": "9999-12-31T23:59:59-23:00"}, "in the years"),
        ({"kind": "weekly"}, "kind"),
        ({}, "kind"),
    ],
)
def test_what_is_no_trigger_is_refused_with_the_reason(said: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as fault:
        TRIGGER.validate_python(said)
    assert words in str(fault.value)
