"""When a schedule runs: cron in a time zone, at an interval, or once.

A cron time that a change of the clocks leaves out runs once, as much later as the clocks were set
forward; one that comes twice runs once, at its first coming. A cron that restricts no hour
(`*/15 * * * *`) goes by elapsed time instead, and runs through both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    field_validator,
    model_validator,
)

from app.core import cron

RUNS_SHOWN = 5
SHORTEST_INTERVAL_SECONDS = 5
_LONGEST_INTERVAL_SECONDS = 366 * 86400
_ONE = timedelta(microseconds=1)
# No two changes of a zone's clocks are nearer to each other.
_NEAR = timedelta(hours=26)
_YEARS = range(2000, 2200)


def zone(name: str) -> ZoneInfo:
    """The time zone of that name. Raises ValueError."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{name[:100]!r} is no time zone such as Europe/Berlin") from None


def _bounded(moment: datetime) -> datetime:
    if moment.year not in _YEARS:
        raise ValueError(f"must be in the years {_YEARS[0]} to {_YEARS[-1]}")
    return moment


def _zone_name(name: str) -> str:
    zone(name)
    return name


Moment = Annotated[datetime, AfterValidator(_bounded)]
ZoneName = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_zone_name)]


class _Trigger(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Cron(_Trigger):
    """Whenever the local time fits: five fields, or a name such as @daily."""

    kind: Literal["cron"]
    cron: str
    timezone: ZoneName = "UTC"

    @field_validator("cron")
    @classmethod
    def _is_readable(cls, expression: str) -> str:
        cron.parse(expression)
        return expression

    def next_after(self, moment: datetime) -> datetime | None:
        """The first planned time after a moment, in UTC."""
        local = zone(self.timezone)
        # Clocks that go back let a local time come after a later one; nothing is nearer than that.
        wall = _wall(moment, local) - _shift(moment, local)
        best: datetime | None = None
        until = wall
        while True:
            wall = cron.next_wall_time(self.cron, wall)
            if best is not None and wall > until:
                return best
            for instant in self._instants(wall, local):
                if instant > moment and (best is None or instant < best):
                    best = instant
                    until = _wall(best, local) + _shift(best, local)
            if best is not None and wall >= until:
                return best

    def _instants(self, wall: datetime, local: ZoneInfo) -> Iterator[datetime]:
        """When a local time is: usually once. What is left out comes by the clock as it was before."""
        first = wall.replace(tzinfo=local, fold=0).astimezone(UTC)
        yield first
        second = wall.replace(tzinfo=local, fold=1).astimezone(UTC)
        if second > first and cron.parse(self.cron).is_any_hour:
            yield second


class Interval(_Trigger):
    """Every so many seconds of elapsed time, counted from `starts_at` (else from its creation)."""

    kind: Literal["interval"]
    seconds: Annotated[int, Field(ge=SHORTEST_INTERVAL_SECONDS, le=_LONGEST_INTERVAL_SECONDS)]
    starts_at: Moment | None = None

    @field_validator("starts_at")
    @classmethod
    def _in_utc(cls, moment: datetime | None) -> datetime | None:
        if moment is None:
            return None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)

    def beginning(self, now: datetime) -> Interval:
        """The same, with a beginning."""
        if self.starts_at is not None:
            return self
        return self.model_copy(update={"starts_at": now.replace(microsecond=0)})

    def begun(self) -> Interval:
        """The same times, and those long before."""
        assert self.starts_at is not None
        back = (_LONGEST_INTERVAL_SECONDS // self.seconds + 1) * timedelta(seconds=self.seconds)
        return self.model_copy(update={"starts_at": self.starts_at - back})

    def next_after(self, moment: datetime) -> datetime | None:
        """The first planned time after a moment, in UTC."""
        starts_at = self.beginning(moment).starts_at
        assert starts_at is not None
        if moment < starts_at:
            return starts_at
        every = timedelta(seconds=self.seconds)
        return starts_at + ((moment - starts_at) // every + 1) * every


class Once(_Trigger):
    """At one moment; one without an offset is local time of the zone."""

    kind: Literal["once"]
    at: Moment
    timezone: ZoneName = "UTC"

    @model_validator(mode="after")
    def _with_offset(self) -> Once:
        if self.at.tzinfo is None:
            local = self.at.replace(tzinfo=zone(self.timezone))
            object.__setattr__(self, "at", local)
        return self

    def next_after(self, moment: datetime) -> datetime | None:
        """The moment, unless it has passed."""
        at = self.at.astimezone(UTC)
        return at if at > moment else None


Trigger = Annotated[Cron | Interval | Once, Field(discriminator="kind")]
TRIGGER: TypeAdapter[Cron | Interval | Once] = TypeAdapter(Trigger)


def _wall(moment: datetime, local: ZoneInfo) -> datetime:
    return moment.astimezone(local).replace(tzinfo=None, fold=0)


def _shift(moment: datetime, local: ZoneInfo) -> timedelta:
    """By how much the zone's clocks are set near a moment."""
    offsets = [
        (moment + distance).astimezone(local).utcoffset() or timedelta()
        for distance in (-_NEAR, timedelta(), _NEAR)
    ]
    return max(offsets) - min(offsets)


def runs_after(trigger: Trigger, moment: datetime, most: int = RUNS_SHOWN) -> list[datetime]:
    """The next planned times after a moment, `most` of them at most."""
    found: list[datetime] = []
    while len(found) < most and (following := trigger.next_after(moment)) is not None:
        found.append(following)
        moment = following
    return found


def latest_run(trigger: Trigger, first: datetime, until: datetime) -> datetime | None:
    """The latest planned time from `first` to `until`, both included.

    By halving: a year of minutes costs hardly more than an hour of them.
    """
    latest = trigger.next_after(first - _ONE)
    if latest is None or latest > until:
        return None
    end = until
    while (following := trigger.next_after(latest)) is not None and following <= until:
        middle = following + (end - following) / 2
        later = trigger.next_after(middle)
        if later is not None and later <= until:
            latest = later
        else:
            latest, end = following, middle
    return latest


def latest_runs(trigger: Trigger, first: datetime, until: datetime, most: int) -> list[datetime]:
    """The latest `most` planned times from `first` to `until`, in order."""
    found: list[datetime] = []
    while len(found) < most and (latest := latest_run(trigger, first, until)) is not None:
        found.append(latest)
        until = latest - _ONE
    return found[::-1]


def count_runs(trigger: Trigger, first: datetime, until: datetime, most: int) -> int:
    """How many planned times there are from `first` to `until`; it counts no further than `most`."""
    found = 0
    moment = trigger.next_after(first - _ONE)
    while found < most and moment is not None and moment <= until:
        found += 1
        moment = trigger.next_after(moment)
    return found


def delay(schedule_id: int, planned_at: datetime, jitter_seconds: float) -> timedelta:
    """How long after its planned time a run is due: the same whoever asks, and however often."""
    if not jitter_seconds:
        return timedelta()
    seed = hashlib.sha256(f"{schedule_id} {planned_at.timestamp()}".encode()).digest()
    return timedelta(seconds=jitter_seconds * int.from_bytes(seed[:8], "big") / 2**64)
