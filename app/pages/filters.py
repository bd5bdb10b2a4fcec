"""The history's filters: read from the address, and said in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from flask import url_for
from werkzeug.datastructures import MultiDict

from app.core.errors import Invalid

_RANGES = {
    "24h": ("24 h", timedelta(hours=24), "last 24 hours"),
    "7d": ("7 d", timedelta(days=7), "last 7 days"),
    "30d": ("30 d", timedelta(days=30), "last 30 days"),
}
_STATUSES = {
    "completed": "Completed",
    "failed": "Failed",
    "in_progress": "In progress",
    "queued": "Queued",
    "cancelled": "Cancelled",
}
_MAX_OFFSET = 10**9


@dataclass(frozen=True)
class Filters:
    """What the reader chose to see; empty means everything."""

    status: str | None = None
    model: str | None = None
    range: str = ""
    first_day: date | None = None
    last_day: date | None = None
    offset: int = 0

    ranges = (("", "All"), *((key, words[0]) for key, words in _RANGES.items()), ("dates", "Dates"))
    statuses = tuple(_STATUSES.items())

    @classmethod
    def read(cls, args: MultiDict[str, str]) -> Filters:
        """From the address. Raises Invalid, naming what can't be read."""
        return cls(
            status=_one_of(args, "status", _STATUSES),
            model=args.get("model") or None,
            range=_one_of(args, "range", {**_RANGES, "dates": ()}) or "",
            first_day=_day(args, "from"),
            last_day=_day(args, "to"),
            offset=_offset(args),
        )

    @property
    def is_any(self) -> bool:
        """Whether something is hidden by them."""
        return bool(self.status or self.model or self.start_at or self.end_at)

    @property
    def start_at(self) -> datetime | None:
        """Jobs created from here on."""
        if self.range in _RANGES:
            return datetime.now(UTC) - _RANGES[self.range][1]
        return _midnight(self.first_day) if self.range == "dates" and self.first_day else None

    @property
    def end_at(self) -> datetime | None:
        """Jobs created before this: the last day counts whole."""
        if self.range != "dates" or not self.last_day:
            return None
        return _midnight(self.last_day) + timedelta(days=1)

    @property
    def scope(self) -> str:
        """The time that the figures are of."""
        if self.range in _RANGES:
            return _RANGES[self.range][2]
        if self.start_at and self.end_at:
            return f"{self.first_day} to {self.last_day}"
        if self.start_at:
            return f"since {self.first_day}"
        return f"until {self.last_day}" if self.end_at else "since the beginning"

    @property
    def title(self) -> str:
        """What the table shows, like: Failed jobs of gemma, last 24 hours."""
        words = f"{_STATUSES[self.status]} jobs" if self.status else "All jobs"
        if self.model:
            words += f" of {self.model}"
        return f"{words}, {self.scope}" if self.start_at or self.end_at else words

    def with_own_model(self, models: list[str]) -> list[str]:
        """The menu's models, the chosen one among them even when no job has it."""
        return models if self.model in (None, *models) else [*models, str(self.model)]

    def url(self, offset: int) -> str:
        """The address of the same jobs from `offset` on."""
        return url_for(
            "history.index",
            status=self.status,
            model=self.model,
            range=self.range or None,
            **{"from": self.first_day, "to": self.last_day},  # type: ignore[arg-type]
            offset=offset or None,
        )


def _one_of(args: MultiDict[str, str], name: str, known: Mapping[str, object]) -> str | None:
    value = args.get(name) or None
    if value is not None and value not in known:
        raise Invalid(f"{name} must be one of {', '.join(known)}.", param=name)
    return value


def _day(args: MultiDict[str, str], name: str) -> date | None:
    value = args.get(name)
    if not value:
        return None
    try:
        day = date.fromisoformat(value)
    except ValueError:
        raise Invalid(f"{name} must be a day like 2026-11-22.", param=name) from None
    return max(day, date(2000, 1, 1)) if day.year < 9999 else date(9998, 12, 31)


def _offset(args: MultiDict[str, str]) -> int:
    value = args.get("offset", "0")
    if not (value.isascii() and value.isdigit() and len(value) < 20):
        raise Invalid("offset must be a whole number.", param="offset")
    return min(int(value), _MAX_OFFSET)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
