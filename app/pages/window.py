"""The window of time that a page looks at: read from the address, and said in words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flask import url_for
from werkzeug.datastructures import MultiDict

from app.core.errors import Invalid
from app.pages.refresh import REFRESHES, USUAL, chosen_refresh
from app.pages.typed_times import address, moment, span

RANGES = {
    "1h": ("1 h", timedelta(hours=1), "last hour"),
    "6h": ("6 h", timedelta(hours=6), "last 6 hours"),
    "24h": ("24 h", timedelta(hours=24), "last 24 hours"),
    "7d": ("7 d", timedelta(days=7), "last 7 days"),
    "30d": ("30 d", timedelta(days=30), "last 30 days"),
}
DATES = "dates"
_DEFAULT = "24h"
_LONGEST = timedelta(days=366)
_LONGEST_NAME = 200


@dataclass(frozen=True)
class Window:
    """What the reader chose to see, of one type or (None) of all, and how often it is fetched anew."""

    range: str
    since: datetime
    until: datetime
    type: str | None = None
    refresh: str = USUAL

    ranges = (*((key, words[0]) for key, words in RANGES.items()), (DATES, "Custom"))

    @classmethod
    def read(cls, args: MultiDict[str, str], now: datetime | None = None) -> Window:
        """From the address. Raises Invalid, naming what can't be read."""
        now = now or datetime.now(UTC)
        chosen = args.get("range") or _DEFAULT
        if chosen not in RANGES and chosen != DATES:
            raise Invalid(f"range must be one of {', '.join(RANGES)}, {DATES}.", param="range")
        refresh = chosen_refresh(args)
        since, until = _dates(args, now) if chosen == DATES else (now - RANGES[chosen][1], now)
        kind = (args.get("type") or "").replace("\0", "")[:_LONGEST_NAME] or None
        return cls(chosen, since, until, kind, refresh)

    @property
    def is_usual(self) -> bool:
        """Whether nothing was chosen that hides something."""
        return self.range == _DEFAULT and self.type is None

    @property
    def trigger(self) -> str:
        """When the page fetches itself anew, in htmx's words; never for `off`."""
        return REFRESHES[self.refresh][1]

    @property
    def scope(self) -> str:
        """The window in words."""
        if self.range in RANGES:
            return RANGES[self.range][2]
        return span(self.since, self.until)

    @property
    def key(self) -> tuple[object, ...]:
        """What its answers may be kept under."""
        fixed = (self.since, self.until) if self.range == DATES else ()
        return (self.range, *fixed, self.type)

    def url(self, endpoint: str, **changed: str | None) -> str:
        """The address of the same window on a page, with some of it changed."""
        said = {
            "range": None if self.range == _DEFAULT else self.range,
            "type": self.type,
            "refresh": None if self.refresh == USUAL else self.refresh,
        }
        if self.range == DATES:
            said |= {"from": address(self.since), "to": address(self.until)}
        return url_for(endpoint, **{**said, **changed})  # type: ignore[arg-type]


def _dates(args: MultiDict[str, str], now: datetime) -> tuple[datetime, datetime]:
    until = moment(args, "to", is_end=True) or now
    since = moment(args, "from") or until - RANGES[_DEFAULT][1]
    if since >= until:
        raise Invalid("from must be before to.", param="from")
    if until - since > _LONGEST:
        raise Invalid(f"from must be {_LONGEST.days} days before to at most.", param="from")
    return since, until
