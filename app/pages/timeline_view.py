"""What the reader of the timeline has chosen: window, lanes, a pair of types or one job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from types import MappingProxyType

from flask import url_for
from werkzeug.datastructures import MultiDict

from app.core.errors import Invalid
from app.core.timeline_runs import LANES, LaneBy
from app.pages.typed_times import address
from app.pages.window import DATES, Window

LANE_WORDS = {
    "type": "Type",
    "queue": "Queue",
    "worker": "Worker",
    "model": "Model",
    "user": "User",
}
_SHORTEST = timedelta(seconds=10)
_FARTHEST = timedelta(days=7)
_LONGEST_NAME = 200
_MOST_ID = 2**63
# What stands for the times in an address until they are known; no name of a type is like them.
_SINCE, _UNTIL = "~since-1c7e~", "~until-5b02~"


@dataclass(frozen=True)
class View:
    """`pair` are the types whose common time is shown; `job_id` the job that others ran beside."""

    window: Window
    now: datetime
    lane_by: LaneBy = "type"
    pair: tuple[str, str] | None = None
    job_id: int | None = None

    lanes = tuple((key, LANE_WORDS[key]) for key in LANES)

    @classmethod
    def read(cls, args: MultiDict[str, str], now: datetime | None = None) -> View:
        """From the address. Raises Invalid, naming what can't be read."""
        now = now or datetime.now(UTC)
        window = Window.read(args, now)
        chosen = args.get("lanes") or "type"
        lane_by = next((each for each in LANES if each == chosen), None)
        if lane_by is None:
            raise Invalid(f"lanes must be one of {', '.join(LANES)}.", param="lanes")
        return cls(window, now, lane_by, _pair(args), _job_id(args))

    @property
    def is_past(self) -> bool:
        """Whether nothing new can come into the window."""
        return self.window.range == DATES and self.window.until < self.now

    @property
    def trigger(self) -> str:
        return "never" if self.is_past else self.window.trigger

    def url(
        self,
        changed: Mapping[str, str | int | None] = MappingProxyType({}),
        endpoint: str = "timeline.index",
    ) -> str:
        """The address of the same view, with some of it changed."""
        window = self.window
        said: dict[str, str | int | None] = {
            "range": window.range,
            "type": window.type,
            "refresh": None if window.refresh == "live" else window.refresh,
            "lanes": None if self.lane_by == "type" else self.lane_by,
            "pair": self.pair[0] if self.pair else None,
            "with": self.pair[1] if self.pair else None,
            "job": self.job_id,
        }
        if window.range == DATES:
            said |= {"from": address(window.since), "to": address(window.until)}
        return url_for(endpoint, **{**said, **changed})  # type: ignore[arg-type]

    def pair_url(self, one: str, other: str) -> str:
        """With that pair of types, or without it when it is the one already."""
        if self.pair in ((one, other), (other, one)):
            return self.url({"pair": None, "with": None})
        return self.url({"pair": one, "with": other, "job": None})

    def moved_url(self, share: float) -> str:
        """The window moved by a share of its length; not beyond now, or where it is already."""
        length = self.window.until - self.window.since
        until = min(self.window.until + length * share, self._end)
        return self.span_url(until - length, until)

    def zoomed_url(self, factor: float) -> str:
        """The window around its middle, `factor` times as long."""
        length = self.window.until - self.window.since
        wanted = max(_SHORTEST, min(length * factor, timedelta(days=366)))
        middle = self.window.since + length / 2
        until = min(middle + wanted / 2, self._end)
        return self.span_url(until - wanted, until)

    @property
    def ahead_url(self) -> str:
        """As long a window, half of it to come."""
        half = min(self.window.until - self.window.since, _FARTHEST) / 2
        return self.span_url(self.now - half, self.now + half)

    @property
    def _end(self) -> datetime:
        return max(self.now, self.window.until)

    def span_url(self, since: datetime, until: datetime) -> str:
        """That window."""
        # A picture has a thousand of these: only the times differ.
        return self._span_pattern.replace(_SINCE, address(since)).replace(_UNTIL, address(until))

    @cached_property
    def _span_pattern(self) -> str:
        return self.url({"range": DATES, "from": _SINCE, "to": _UNTIL})

    @property
    def whole_url(self) -> str:
        """Back to what is usually shown."""
        return self.url({"range": "24h", "from": None, "to": None})


def _pair(args: MultiDict[str, str]) -> tuple[str, str] | None:
    one, other = (
        (args.get(name) or "").replace("\0", "")[:_LONGEST_NAME] for name in ("pair", "with")
    )
    if bool(one) != bool(other):
        raise Invalid("pair and with name the two types of a pair: both or none.", param="pair")
    return (one, other) if one else None


def _job_id(args: MultiDict[str, str]) -> int | None:
    value = args.get("job")
    if not value:
        return None
    if not (value.isascii() and value.isdigit() and len(value) < 20 and int(value) < _MOST_ID):
        raise Invalid("job must be the number of a job.", param="job")
    return int(value)
